"""The command line, one file a command; `main.py` lists them and imports each when it is called."""
