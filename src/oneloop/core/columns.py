"""What is known of a column, or of a fact of a batch, before anybody writes it.

The annotations of `Rollouts` and `Actions` (rollouts.py) declare each column once; who records, measures or
shows columns reads the declarations, and has no list of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_type_hints

Shown = Literal["rollout", "token", "step"]


@dataclass(frozen=True)
class Declared:
    """One column."""

    by: str
    """Who writes it, in words."""
    recorded: bool = False
    """Whether the Parquet files of a run have it."""
    mean: str = ""
    """Metric that is its mean over the kept actions of a step."""
    largest: str = ""
    """Metric that is its largest value in a step, over all passes."""
    smallest: str = ""
    """Metric that is its smallest value in a step, over all passes."""
    last_mean: str = ""
    """Metric that is its mean over the last of several passes."""
    shown: tuple[Shown, ...] = ()
    """Where the report's browser shows it: with the rollout, its tokens, or the steps of an image."""


FAMILIES: dict[str, Declared] = {
    "extra.": Declared("a judge: what it logs besides its verdict"),
    "reward.": Declared("a judge: its verdict", recorded=True),
    "error.": Declared("a judge: why it failed, in words", recorded=True),
    "valid.": Declared("the step_critic judge: share of usable critiques", recorded=True),
    "cost.": Declared("the step_critic judge: what its critiques cost", recorded=True),
    "yes.": Declared("a judge that compares: its probability", recorded=True),
    "won.": Declared("a held-out judge that compares: 1, 0.5 or 0", recorded=True),
}
"""Columns of judges, by how their names begin; the name of the judge follows."""

FACTS: dict[str, str] = {
    "seed": "the plan: of everything drawn at random",
    "step": "the plan: batches before this one",
    "progress": "the plan: step over all steps of the phase, 0 to 1",
    "enough": "the plan, when it asks: after how many complete groups sampling may stop; None: all",
    "version": "the loop: of the weights that the batch trains",
    "judges": "the judge stage: {judge: {rollouts, errors, none, outage}}",
    "judge_errors": "the judge stage: its first errors, a sentence each",
    "judge_metrics": "a judge: metrics of its own",
    "select_metrics": "a select part: metrics of its own",
}
"""Known facts of a batch, each with who writes it and what it is."""


class MissingFact(KeyError):
    """A fact was read that nobody wrote; the message says who does."""

    def __str__(self) -> str:
        return str(self.args[0])


class Facts(dict[str, Any]):
    """Facts of a batch by name; reading one that nobody wrote names who writes it."""

    def __missing__(self, name: str) -> Any:
        hint = FACTS.get(name, "no known part writes it")
        there = ", ".join(self) or "none"
        raise MissingFact(f"nobody wrote the fact '{name}' ({hint}; written so far: {there})")


@cache
def declarations(table: type) -> dict[str, Declared]:
    """The known columns of a kind of table, in the order declared."""
    hints = get_type_hints(table, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", (None,))[0] for name, hint in hints.items()}
    return {name: mark for name, mark in marks.items() if isinstance(mark, Declared)}


def family(name: str) -> Declared | None:
    """The family to which a column of a judge belongs."""
    return next((known for beginning, known in FAMILIES.items() if name.startswith(beginning)), None)


def recorded(
    table: Mapping[str, Declared], written: Iterator[str], families: Mapping[str, Declared] | None = None
) -> list[str]:
    """Those of the `written` columns that go to the Parquet files: known ones first, in their order, then
    those of `families`."""
    there = list(written)
    known = [name for name, column in table.items() if column.recorded and name in there]
    beginnings = tuple(name for name, column in (families or {}).items() if column.recorded)
    return [*known, *(name for name in there if name.startswith(beginnings))]
