"""Policies: models that sample rollouts, recompute log-probs of actions, and are trained. Protocol:
`oneloop.core.protocols.Policy`.

To add a kind: a file `name.py` with a class `Name` under `@part`; its helpers stand in a folder beside it.
"""
