"""One suite a file, each with a `SUITE`; a new file here is a new suite."""
