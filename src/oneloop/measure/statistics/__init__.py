"""Intervals, paired comparisons, pass@k and majorities."""
