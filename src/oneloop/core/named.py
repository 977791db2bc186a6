"""Names of models: a folder here, or a model of the Hugging Face hub."""

import re
from pathlib import Path

from oneloop.core import shell
from oneloop.core.rooms import nearest

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")


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
    path = Path(name)
    if told := shell.hint(name) if name.startswith("~") or not path.exists() else "":
        raise NoSuchModel(name, told)  # the libraries that read it would look for a folder called ~
    if page := HUB_PAGE.match(name):
        raise NoSuchModel(name, f"; a model of the hub is named without its address, write {page[1]}")
    if path.is_file():
        raise NoSuchModel(name, ", it is a file; give the folder that holds it, with config.json")
    local = not HUB_NAME.fullmatch(name) or name.startswith(".") or path.parts[0] == "runs"
    if path.exists() or not (local or (len(path.parts) == 2 and path.parent.is_dir())):
        return name
    there = sorted(str(other) for other in path.parent.glob("*/"))
    hint = f"; {nearest(str(path), there)}" if there else ""
    raise NoSuchModel(name, hint)
