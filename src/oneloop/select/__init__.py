"""What to learn from: parts that lower `actions.share`."""
