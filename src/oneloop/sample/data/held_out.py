"""Prompts that are kept for evaluation: a share of all prompts, chosen by their hash.

Which side a prompt is on depends on nothing but the prompt, so rows of other files, seeds or sizes agree on
it, and so do a run and its resumption: what is asked when evaluating is never trained on.

    is_held_out({"prompt": "3 + 4 = "}, 0.1)     the same always
    HeldOutRows(data, 0.1, 256)                  the rows to evaluate on, each prompt once
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from oneloop.core.identity import identity
from oneloop.core.protocols import Data
from oneloop.sample.data.checked import place_of

LOOKED_AT = 20_000
"""Most rows that are looked at for prompts to evaluate on."""
PICTURES = ("image", "images", "source", "mask")


class NothingHeldOut(ValueError):
    """No row of the evaluation's data has a prompt that is held out."""


def question(row: Mapping[str, Any]) -> Any:
    """What `row` asks: its prompt without white space around it, of messages those that are not the system's.

    A text and one message of the user that says the same are one question. A row with pictures asks about
    them.
    """
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        turns = [turn for turn in prompt if isinstance(turn, Mapping) and turn.get("role") != "system"]
        prompt = [[turn.get("role"), turn.get("content")] for turn in turns]
        if len(prompt) == 1 and isinstance(prompt[0][1], str):
            prompt = prompt[0][1]
    asked = prompt.strip() if isinstance(prompt, str) else prompt
    pictures = [row[name] for name in PICTURES if name in row]
    return [asked, *pictures] if pictures else asked


def is_held_out(row: Mapping[str, Any], share: float) -> bool:
    """Whether the prompt of `row` is among the `share` (0 to 1) of all prompts that are held out."""
    return share > 0 and int(identity(["held out", question(row)]), 16) < share * 2**128


class HeldOutRows:
    """The first `size` rows of `data` whose prompts are held out, each prompt once, numbered anew.

    Raises NothingHeldOut, when it is first used, if there is none among the first LOOKED_AT rows.
    """

    def __init__(self, data: Data, share: float, size: int):
        self.data, self.share, self.size = data, share, size

    @cached_property
    def _keys(self) -> list[int]:
        keys: list[int] = []
        seen: set[str] = set()
        most = min(len(self.data), LOOKED_AT)
        for key in range(most):
            try:
                row = self.data[key]
            except ValueError:  # a bad row is named where all rows are checked
                continue
            if is_held_out(row, self.share) and (known := identity(question(row))) not in seen:
                seen.add(known)
                keys.append(key)
            if len(keys) == self.size:
                break
        if not keys:
            raise NothingHeldOut(
                f"evaluate.held_out: none of the {most} rows of evaluate.data has a prompt that is held out "
                f"({self.share:.3g} of all prompts are); give more rows, or a larger share"
            )
        return keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row with that number among those that are held out."""
        return self.data[self._keys[key]]

    def place(self, key: int) -> str:
        """Where that row is in its data, in words."""
        return place_of(self.data, self._keys[key])
