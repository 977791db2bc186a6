"""Models that compare two images, for judges that learn or are differentiated.

To add one: a file `name.py` with a class `Name` under `@part` whose `build()` returns the model.
"""
