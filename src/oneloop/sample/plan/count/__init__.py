"""How many more rollouts each open group gets. Protocol: `oneloop.core.protocols.Count`.

To add one: a file `name.py` with a class `Name` under `@part`.
"""
