"""Vision-language models made here instead of loaded by name. One file a model.

A part has `build()`, which gives (a transformers model that reads pictures, its processor).
"""
