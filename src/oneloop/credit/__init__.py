"""Which action earned it: parts that write `actions.advantage`. Protocol: `oneloop.core.protocols.Part`.

To add one: a file `name.py` with a function of tensors and a class `Name` under `@part` that applies it.
"""
