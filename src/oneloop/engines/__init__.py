"""Engines: token ids in, token ids and their exact log-probabilities out. They know nothing of rollouts."""
