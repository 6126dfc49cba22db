"""The report of results as one HTML file: what it is told (document), and the page around it."""
