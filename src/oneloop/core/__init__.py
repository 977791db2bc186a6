"""The words every other room uses: the two tables, parts, columns, arithmetic by label, named draws, storage.

Nothing here knows a method, a model or a file of a run. Add something only when two rooms need it.
"""
