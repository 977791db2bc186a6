"""Rewrites fresh rows before they are sampled: contexts, budgets, forks.

Protocol: `oneloop.core.protocols.Dress`. To add one: a file `name.py` with a class `Name` under `@part`.
"""
