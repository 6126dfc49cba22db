"""What a person calls from Python: models, designs, training, results."""
