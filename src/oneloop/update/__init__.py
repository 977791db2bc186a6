"""How to learn from it: the learner, which owns every denominator, and the objectives."""
