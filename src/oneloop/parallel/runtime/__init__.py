"""Actors: stages that run beside one another and pass their results on through bounded registers."""
