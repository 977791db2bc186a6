"""What to try, with what, on which rows: the plan, the policies that sample and are trained, and the data.

Protocols: `Data`, `Policy` and the plan's slots in `oneloop.core.protocols`.
"""
