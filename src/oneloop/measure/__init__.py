"""What was gained: statistics and the registry of claims; knows nothing of stages."""
