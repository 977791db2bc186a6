"""The plan (what to try), the policies (what samples and is trained) and the data (the rows with prompts).

Protocols: `Data`, `Policy` and the plan's slots in `oneloop.core.protocols`.
"""
