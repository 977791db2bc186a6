"""Rows by number, each with a prompt. Protocol: `oneloop.core.protocols.Data`.

To add one: a file `name.py` with a class `Name` under `@part`.
"""
