"""Laws of draws: how likely each of K things is drawn, such as budgets, subnets or classes of prompts.

A part meets `oneloop.core.protocols.Draw`: it makes `oneloop.core.protocols.Chances`, K probabilities that
may change with what is learned. To add one: a file here, and a test in tests/sample/plan/draw.
"""
