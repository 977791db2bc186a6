"""Remarks on rows that can be used and are perhaps not what was meant.

no answer   a verifier says nothing of their rollouts, which are then not learned from
JSON        a prompt that is the text of a list of messages is shown to the model as that text
turns       what comes after the last answer of `messages` is in neither prompt nor demonstration
roles       a chat template may leave out turns of a role that it does not know
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from oneloop.core.rooms import nearest
from oneloop.sample.data.checked import Check, Row

ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
"""Roles that chat templates know."""


@runtime_checkable
class Comparing(Protocol):
    """A judge that compares with something of the data row."""

    name: str

    def compares(self, example: Mapping[str, Any]) -> bool:
        """Whether the row `example` has something to compare with."""


class RowRemarks:
    """The check `check`, which counts what is odd of the rows that pass; `judges` score their rollouts."""

    def __init__(self, check: Check, judges: Sequence[Any]):
        self._check = check
        self._judges = [judge for judge in judges if isinstance(judge, Comparing)]
        self._rows = 0
        self._silent: dict[str, list[str]] = {judge.name: [] for judge in self._judges}
        self._written: list[str] = []
        self._beyond: list[str] = []
        self._roles: dict[str, str] = {}

    def __call__(self, row: Row, where: str) -> None:
        """Raises what the check raises."""
        self._check(row, where)
        self._rows += 1
        for judge in self._judges:
            if not judge.compares(row):
                self._silent[judge.name].append(where)
        if is_messages(row["prompt"]):
            self._written.append(where)
        if goes_on(row):
            self._beyond.append(where)
        for role in roles(row["prompt"]) - ROLES:
            self._roles.setdefault(role, where)

    def sentences(self) -> list[str]:
        """A sentence for each kind of remark, with the first row that gave rise to it."""
        told = [
            f"{len(places)} of {self._rows} rows have no answer (the first: {places[0]}): '{name}' says "
            "nothing of their rollouts, which are not learned from unless another judge scores them"
            for name, places in self._silent.items()
            if places
        ]
        if self._written:
            told.append(
                f"{len(self._written)} of {self._rows} prompts are JSON of a list of messages as one text "
                f"(the first: {self._written[0]}), which the model is shown as that text; write the list "
                "itself into JSONL or Parquet to have a conversation"
            )
        if self._beyond:
            told.append(
                f"{len(self._beyond)} of {self._rows} rows have turns after the last one of the assistant "
                f"(the first: {self._beyond[0]}), which are left out"
            )
        for role, where in self._roles.items():
            meant = nearest(role, sorted(ROLES))
            told.append(f"a message has the role '{role}' ({where}), which few templates know; {meant}")
        return told


def goes_on(row: Row) -> bool:
    """Whether the prompt was made of `messages` that do not end with the assistant's turn."""
    turns = row.get("messages")
    return (
        isinstance(turns, list)
        and isinstance(row["prompt"], list)
        and row["prompt"] == turns[: len(row["prompt"])]
        and len(turns) > len(row["prompt"]) + 1
    )


def roles(prompt: Any) -> set[str]:
    """The roles of the messages of a prompt; none of a text."""
    return {turn["role"] for turn in prompt} if isinstance(prompt, list) else set()


def is_messages(prompt: Any) -> bool:
    """Whether `prompt` is a text, and the JSON of a list of messages."""
    if not isinstance(prompt, str) or not prompt.lstrip().startswith("[") or '"role"' not in prompt:
        return False
    try:
        found = json.loads(prompt)
    except (ValueError, RecursionError):
        return False
    return bool(found) and all(isinstance(turn, dict) and "role" in turn for turn in found)
