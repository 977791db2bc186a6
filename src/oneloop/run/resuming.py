"""Which options of a recipe may change when its run is resumed: its length, records, where weights lie.

Everything else would make another run of it: numbers before and after the change would not belong together.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from oneloop.core.storage import replace_file
from oneloop.recipe import text
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import Recipe, load_recipe

MAY_CHANGE = re.compile(
    r"phases\.(?P<phase>.+)\.steps|evaluate\.every|save_every|keep_checkpoints|stop_on_alarm|trackers(\[\d+\])?"
    r"|phases\..+\.learner\.(parallel|plan|mesh(\[\d+\])?)"  # where weights lie changes no number
)
SHOWN = 5
"""Most differences that a message names."""
Changes = dict[str, tuple[Any, Any]]


class OtherRun(FileExistsError):
    """A directory holds the run of another recipe; the message says in what they differ."""


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """{path: (value before, value after)} of two recipes as YAML says them; None where there is nothing."""
    old, new = dict(leaves(before)), dict(leaves(after))
    paths = [*old, *(path for path in new if path not in old)]
    return {path: (old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)}


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every value in nested mappings and lists; an empty one is a value itself."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list) and node:
        for index, value in enumerate(node):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, node


def same_run(before: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a run of the recipe `before` may go on as one of `recipe`."""
    return all(MAY_CHANGE.fullmatch(path) for path in changes(completed(before), text.options(recipe)))


def completed(before: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe `before` with the options that are new in this version, which have their defaults."""
    try:
        options: Mapping[str, Any] = text.parse(text.written(load_recipe(before)[0]))
    except RecipeError:  # then the difference is told
        return before
    return options


def take_over(written: Path, recipe: Recipe, history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lets the run whose recipe is the file `written` go on as `recipe`; gives a sentence for each change.

    `history` are the metrics of the steps so far. Raises OtherRun where `recipe` changes more than it may, or
    the steps of a phase that is over or has made more of them.
    """
    if written.read_bytes() == text.written(recipe).encode():
        return []
    advice = f"go on as it was with `oneloop train {quote(str(written))} --resume`"
    said = since(_read(written), recipe, history, f"{written} is not the recipe given", advice)
    replace_file(written, text.written(recipe))
    return said


def _read(written: Path) -> dict[str, Any]:
    """The recipe in a run directory. Raises OtherRun where that is none."""
    try:
        found, why = text.read(written), "it holds no recipe"
    except text.NotYaml as error:
        found, why = None, str(error)
    if not isinstance(found, dict) or "policy" not in found:
        raise OtherRun(f"{written} is damaged: {why}; put a copy of the run's recipe in its place")
    return found


def as_before(before: str, recipe: Recipe, history: Sequence[Mapping[str, Any]], written: Path) -> list[str]:
    """Sentences on how `recipe` differs from the text `before`, which the run was last saved with.

    The file `written` may have been edited since. Raises OtherRun as `take_over` does.
    """
    if before == text.written(recipe):
        return []
    what = f"{written} was edited: it is not the recipe that the run was made with"
    return since(text.parse(before), recipe, history, what, "put it back, or start another run")


def since(
    before: Mapping[str, Any], recipe: Recipe, history: Sequence[Mapping[str, Any]], what: str, advice: str
) -> list[str]:
    """A sentence for each change from the recipe `before`.

    Raises OtherRun as `take_over` does; `what` and `advice` begin and end its message.
    """
    found = changes(completed(before), text.parse(text.written(recipe)))
    said = [f"{path}: {_short(old)} -> {_short(new)}" for path, (old, new) in found.items()]
    if refused := [one for one, path in zip(said, found, strict=True) if not MAY_CHANGE.fullmatch(path)]:
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise OtherRun(f"{what}, it differs in {', '.join(refused[:SHOWN])}{more}; {advice}")
    for path, (_, new) in found.items():
        if phase := (MAY_CHANGE.fullmatch(path) or {"phase": None})["phase"]:
            said += _lengthened(path, phase, new, recipe, history)
    return [f"changed {one}" for one in said]


def _lengthened(
    path: str, phase: str, steps: int, recipe: Recipe, history: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Sentences on a phase whose number of steps changes. Raises OtherRun where it cannot."""
    names = list(recipe.phases)
    begun = [name for name in names if any(line.get("phase") == name for line in history)]
    if begun and names.index(phase) < names.index(begun[-1]):
        raise OtherRun(f"{path}: phase '{phase}' is over, '{begun[-1]}' has begun; its steps cannot change")
    done = max((line["phase_step"] for line in history if line.get("phase") == phase), default=0)
    if steps < done:
        raise OtherRun(f"{path}: must be at least {done}, the steps that the run has made, got {steps}")
    schedule = recipe.phases[phase].learner.schedule
    if not done or schedule == "constant":
        return []
    return [f"the {schedule} schedule of phase '{phase}' now ends at step {steps}, from where the run stands"]


def extended(state: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The checkpoint's `state`, or that before the end of its phase if `recipe` has more steps for it."""
    before = state.pop("extend", None)
    if before is None:
        return state
    longer = list(recipe.phases.values())[before["phase"]].steps > before["steps"]
    return {**state, **before} if longer else state


def _short(value: Any) -> str:
    return "nothing" if value is None else f"{value!s:.40}"
