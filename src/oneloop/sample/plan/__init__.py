"""The plan: which prompts to try next, how often, in which context and how far; its slots are parts.

A slot is a folder (`count`, `keep`, `dress`); a sampling method is one file in one of them.
"""
