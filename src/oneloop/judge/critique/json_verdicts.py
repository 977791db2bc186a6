"""Wrong steps from a JSON object at the end of a reply, bare or in a code fence."""

import json
import re
from typing import Any

from oneloop.judge.critique.step_lists import Unclear, steps_of, within

LONGEST = 20_000
"""Characters at the end of a reply in which an object may begin."""
KEY = re.compile(
    r"(?:all )?(?:wrong|incorrect|erroneous|flawed|faulty|invalid|mistaken)"
    r"(?: steps?)?(?: (?:list|numbers?|ids|indices))?"
)
FENCE = re.compile(r"```[\w-]*[ \t]*\n(?P<inside>(?:(?!```).)*)\n?[ \t]*```\s*$", re.DOTALL)
NUMBERED = ("step", "step_number", "number", "index", "id")


def steps_in_json(text: str, num_steps: int) -> set[int] | None:
    """The steps under the key "wrong_steps" (or alike) of the object that ends `text`; None: no such object.

    Raises Unclear for an object that has no such key or two, and for values that are no numbers of steps.
    """
    found = _object(text[-LONGEST:].strip())
    if found is None:
        return None
    keys = [key for key in found if KEY.fullmatch(_words(key))]
    if len(keys) != 1:
        raise Unclear(
            f"the JSON object has {len(keys) or 'no'} keys for wrong steps: {', '.join(found)[:80]}"
        )
    return _steps(found[keys[0]], num_steps, several=_words(keys[0]).endswith(("steps", "list", "wrong")))


def _object(text: str) -> dict[str, Any] | None:
    fenced = FENCE.search(text)
    text = fenced["inside"].strip() if fenced else text
    if not text.endswith("}"):
        return None
    starts = [0, *(place.start() + 1 for place in re.finditer(r"\n(?=\s*\{)", text))]
    for start in starts[-20:]:  # an object that begins a line; the outermost one first
        try:
            made = json.loads(text[start:])
        except (ValueError, RecursionError):
            continue
        return made if isinstance(made, dict) else None
    return None


def _words(key: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\s-]+", " ", key)
    return spaced.strip().lower()


def _steps(value: Any, num_steps: int, several: bool) -> set[int]:
    if value is None or value in ([], [-1], "", -1):
        return set()
    if isinstance(value, str):
        return steps_of(value, num_steps)
    if isinstance(value, list):
        return {_one(item, num_steps) for item in value}
    if several:
        raise Unclear(f"the JSON object gives {str(value)[:40]} for several steps, which may be a count")
    return {_one(value, num_steps)}


def _one(item: Any, num_steps: int) -> int:
    if isinstance(item, dict):
        keys = [key for key in NUMBERED if key in item]
        item = item[keys[0]] if len(keys) == 1 else None
    if isinstance(item, int) and not isinstance(item, bool):
        return within(item, num_steps)
    if isinstance(item, str) and item.strip():
        steps = steps_of(f"step {item.strip()}" if item.strip().isdigit() else item, num_steps)
        if len(steps) == 1:
            return steps.pop()
    raise Unclear(f"the JSON object lists {str(item)[:40]!r}, which is no step")
