"""Problems of reasoning-gym, generated row by row: any of its about 100 tasks by name, nothing downloaded.

Two seeds share no row, so a second seed is a held-out set: reasoning-gym itself gives row k of seed s and
row k-1 of seed s+1 the same problem, so our seed is hashed before it is handed on. (A small task can still
pose one question twice by chance.) Left out: its curricula and composite data sets.
"""

import dataclasses
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import part
from oneloop.core.rooms import nearest
from oneloop.sample.data.columns import ColumnOptions

QUESTION = "{question}"
LARGEST = 2**31 - 1
MOST_DIGITS = 1000
"""Largest value of an option that counts digits: far more than a task needs, and still fast."""


@part()
class Reasoning:
    """Rows `prompt, question, answer, completion, metadata, options`; the `verifier` judge scores them."""

    task: str = "chain_sum"
    """Name of the reasoning-gym task."""
    size: Annotated[int, Field(ge=1)] = 10_000
    """Number of rows; they are generated when asked for."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the rows; two seeds share no row, so another seed gives held-out rows."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the task itself, such as `max_terms: 3` for chain_sum."""
    prompt: str = QUESTION
    """Text of the prompt, with {question} where the question goes."""
    chat: bool | None = None
    """Whether the prompt is a user message instead of plain text; None: only if `system` is given."""
    system: str = ""
    """System message before the question, which makes the prompt a conversation; empty: none."""

    def __post_init__(self) -> None:
        if QUESTION not in self.prompt:
            raise ValueError(f"prompt must contain {QUESTION}, got {self.prompt!r}")
        check_options(self.task, self.options)
        _ = self._reading

    @cached_property
    def _reading(self) -> ColumnOptions:
        return ColumnOptions(chat=self.chat, system=self.system)

    @cached_property
    def _problems(self) -> Any:
        from reasoning_gym.factory import create_dataset

        # 31 bits: tasks add the row number, and some hand the sum to generators of 32 bits
        seed = int(draws.mix(self.seed, self.task)) % 2**31
        return create_dataset(self.task, size=self.size, seed=seed, **self.options)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..size-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key} of {self.task}: there are {self.size} rows")
        problem = self._problems[key]
        text = self.prompt.replace(QUESTION, problem["question"])
        return {
            "prompt": self._reading.prompt(text, f"row {key} of {self.task}"),
            "question": problem["question"],
            "answer": problem["answer"],
            "completion": problem["answer"],
            "metadata": problem["metadata"],
            "options": self.options,
        }


def check_options(task: str, options: dict[str, Any]) -> None:
    """Raises ValueError, with the nearest name, for an unknown `task` or an option that it does not have."""
    from reasoning_gym.factory import DATASETS, create_dataset

    if task not in DATASETS:
        raise ValueError(f"reasoning-gym has no task '{task}'; {nearest(task, sorted(DATASETS))}")
    configuration = DATASETS[task][1]
    known = [field.name for field in dataclasses.fields(configuration) if field.name not in ("seed", "size")]
    for name in options:
        if name in ("seed", "size"):
            raise ValueError(f"options of {task}: '{name}' belongs beside `options`, not inside")
        if name not in known:
            raise ValueError(f"options of {task}: no such option '{name}'; {nearest(name, known)}")
        check_value(f"options of {task}: '{name}'", options[name], getattr(configuration(), name))
    if not options:
        return
    try:
        configuration(**options).validate()
        create_dataset(task, size=1, seed=0, **options)[0]
    except Exception as error:  # a task may fail in any way on options that its check lets pass
        why = str(error) or "refused by the task"
        raise ValueError(f"options of {task}: {why}, got {options}") from error


def check_value(where: str, value: Any, default: Any) -> None:
    """Raises ValueError, naming `where`, when `value` has another type than the task's own `default` or is
    too
    large: tasks rely on both."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    kind = next((kind for kind in kinds if isinstance(default, kind)), None)
    given: Any = value
    if isinstance(value, int) and not isinstance(value, bool) and kind is float:
        given = float(value)
    if kind is not None and (not isinstance(given, kind) or isinstance(given, bool) is not (kind is bool)):
        raise ValueError(f"{where} must be {kinds[kind]}, got {value!r:.80}")
    most = MOST_DIGITS if "digits" in where.rpartition(":")[2] else LARGEST
    if isinstance(value, int) and abs(value) > most:
        raise ValueError(f"{where} must be at most {most}, got {value!r:.80}")
