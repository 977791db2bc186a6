"""Code that is not trusted runs here: worker processes with limits."""
