"""How much memory a run will need, said before it starts."""
