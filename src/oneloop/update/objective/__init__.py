"""One loss per action. Protocol: `oneloop.core.protocols.Objective`.

To add one: a file `name.py` with a class `Name` under `@part`; the learner averages.
"""
