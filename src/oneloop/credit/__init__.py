"""Credit: parts that turn rewards into an advantage of each action (`actions.advantage`). Protocol:
`oneloop.core.protocols.Part`.

To add one: a file `name.py` with a function of tensors and a class `Name` under `@part` that applies it.
"""
