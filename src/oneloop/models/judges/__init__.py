"""Models that judge: those that compare two images, which are parts, and readers and classifiers of words.

To add one that compares: a file `name.py` with a class `Name` under `@part` whose `build()` returns
the model.
"""
