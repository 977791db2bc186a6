"""Names of models: a folder here, or a model of the Hugging Face hub."""

import os
import re
from pathlib import Path

from oneloop.core.rooms import nearest

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class NoSuchModel(ValueError):
    """A name that can only be that of a folder, and there is none; the message has the nearest name."""

    def __init__(self, name: str, hint: str):
        super().__init__(f"{name}: there is no such folder{hint}")
        self.why = f"there is no such folder{hint}"


def model_named(name: str) -> str:
    """`name`, unless it can only mean a folder and there is no such folder.

    A hub name is `model` or `owner/model`. `runs/...`, a name with another form, and one whose owner is a
    folder here mean folders, so that nobody waits for a hub. Raises NoSuchModel.
    """
    path = Path(os.path.expanduser(name))
    if name.startswith("~"):  # the libraries that read it would look for a folder called ~
        raise NoSuchModel(name, f"; ~ is the home folder for a shell alone, write {path}")
    local = not HUB_NAME.fullmatch(name) or name.startswith(".") or path.parts[0] == "runs"
    if path.exists() or not (local or (len(path.parts) == 2 and path.parent.is_dir())):
        return name
    there = sorted(str(other) for other in path.parent.glob("*/"))
    hint = f"; {nearest(str(path), there)}" if there else ""
    raise NoSuchModel(name, hint)
