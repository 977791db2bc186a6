"""Whether a file or a folder can be written, asked before the work whose result goes there.

Sentences name the place, and the folder or file on the way to it that is in the way.
"""

import os
from pathlib import Path

from oneloop.core import shell


class Unwritable(ValueError):
    """A place that cannot be written; the message says where and why."""


def check_file(path: Path) -> Path:
    """`path`, if a file can be written there, in folders yet to be made. Raises Unwritable."""
    _check(path)
    if path.is_dir():
        raise Unwritable(f"cannot write the file {path}: it is a folder")
    return path


def check_folder(path: Path) -> Path:
    """`path`, if it is a folder that can be written to, or can be made one. Raises Unwritable."""
    _check(path)
    if path.exists() and not path.is_dir():
        raise Unwritable(f"cannot write to {path}: it is a file, not a folder")
    if path.exists() and not os.access(path, os.W_OK | os.X_OK):
        raise Unwritable(f"cannot write to {path}: there is no permission to write to it")
    return path


def check_apart(path: Path, *read: Path) -> None:
    """Raises Unwritable where `path` is one of the files that are `read`, which it would replace."""
    for other in read:
        if path.exists() and other.exists() and path.samefile(other):
            raise Unwritable(f"cannot write {path}: it is a file that is read, and would be replaced")


def _check(path: Path) -> None:
    """Raises Unwritable unless what is above `path` is a folder that takes new names."""
    told = shell.hint(str(path))
    if told and not _there(Path(path.parts[0])):
        raise Unwritable(f"cannot write to {path}: {told.removeprefix('; ')}")
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # too long, a loop of links, a zero byte
        raise Unwritable(f"cannot write to {str(path)!r:.200}: {reason(error)}") from None
    above = next(folder for folder in (path.parent, *path.parent.parents) if _there(folder))
    if not above.is_dir():
        raise Unwritable(f"cannot write to {path}: {above} is a file, not a folder")
    if not path.exists() and not os.access(above, os.W_OK | os.X_OK):
        raise Unwritable(f"cannot write to {path}: there is no permission to write to {above}")


def _there(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except OSError:
        return False


def reason(error: Exception) -> str:
    """What the system says, without its number."""
    return (getattr(error, "strerror", None) or str(error)).lower()
