"""A YAML file into checked parts: text, fields, faults in words, overrides, names of other trainers, schema.

`shipped/` holds the recipes that come with the package.
"""
