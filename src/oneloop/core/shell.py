"""What a shell makes of the name of a file before a program is given it, and no program makes of it later."""

import os


def hint(path: str) -> str:
    """ "; ... write PATH" for a path with ~ or $NAME that only a shell would have replaced; else ""."""
    whole = os.path.expandvars(os.path.expanduser(path))
    if whole == path:
        return ""
    what = "~ is the home folder" if path.startswith("~") else "$ begins the name of a variable"
    return f"; {what} for a shell alone, write {whole}"
