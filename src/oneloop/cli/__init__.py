"""The command line, one file a command; `main.py` lists them."""
