"""Readers of data files that guess no types: no text becomes a number or a date, no number loses digits.

text_table   rows of text files, parsed on access
json_rows    JSON, one object a line or one list of objects
delimited    CSV and TSV
typed_table  Parquet, Arrow and the hub's own formats, through `datasets`
located      which reader a path needs
"""
