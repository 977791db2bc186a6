"""What is trained: it samples rollouts and answers for actions. Protocol: `oneloop.core.protocols.Policy`.

To add a kind: a file `name.py` with a class `Name` under `@part`; its helpers stand in a folder beside it.
"""
