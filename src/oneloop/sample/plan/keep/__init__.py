"""Decide whether a complete group is worth learning from. Protocol: `oneloop.core.protocols.Keep`.

To add one: a file `name.py` with a class `Name` under `@part`.
"""
