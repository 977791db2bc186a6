"""Language models that are built locally, without a download.

To add one: a file `name.py` with a class `Name` under `@part` whose `build()` returns (model, tokenizer).
"""
