"""What a recipe says before it is checked: mappings, lists and values from a file, a name or Python."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oneloop.recipe import text

Raw = dict[str, Any]


class RecipeError(ValueError):
    """All faults of a recipe, one sentence each in `faults`."""

    def __init__(self, faults: Sequence[str]):
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


def read_raw(source: Path | str | Mapping[str, Any]) -> tuple[Raw, list[str]]:
    """(what `source` says, unchecked, and its name; faults). Raises RecipeError when it says no mapping."""
    loaded, default = source, "run"
    if isinstance(source, Path | str):
        default = re.sub(r"[^\w.-]+", "-", Path(source).stem).lstrip(".-") or "run"
        try:
            loaded = text.read(text.located(Path(source)))
        except OSError as error:
            raise RecipeError([f"cannot read the recipe {source}: {error.strerror}"]) from None
        except text.NoSuchRecipe as error:
            raise RecipeError([str(error)]) from None
        except text.NotYaml as error:
            raise RecipeError([f"{source} is not a recipe: {error}"]) from None
    if not isinstance(loaded, Mapping):
        got = "is empty" if loaded is None else f"got {type(loaded).__name__}"
        raise RecipeError([f"{source!s:.80} must hold a mapping (policy, plan, ...), {got}"])
    problems: list[str] = []
    try:
        copied = text.plain(dict(loaded), "recipe", problems)
    except RecursionError:
        raise RecipeError(["the recipe contains itself, or is nested too deeply"]) from None
    except text.NotYaml as error:
        raise RecipeError([f"{source!s:.80} is not a recipe: {error}"]) from None
    raw = {str(key): value for key, value in copied.items()}
    raw.setdefault("name", default)
    return raw, problems
