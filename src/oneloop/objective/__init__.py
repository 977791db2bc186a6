"""How to learn from it: one loss per action."""
