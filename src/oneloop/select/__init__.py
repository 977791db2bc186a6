"""Select what to learn from: parts that lower `actions.share`, never raise it, and remove no row.

Protocol: `oneloop.core.protocols.Part`. To add one: a file `name.py` with a class `Name` under `@part`.
"""
