"""What the project publishes, made again from the data to the last number."""
