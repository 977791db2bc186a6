"""Reward functions of users: where they are, whose signature they have, how they are called."""
