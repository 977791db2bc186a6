"""What to try next, how often, from which context, until when: one plan, whose slots are parts.

A slot is a folder (`count`, `keep`, `dress`); a sampling method is one file in one of them.
"""
