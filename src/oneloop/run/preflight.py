"""Checks before a run: whether data can be read, and whether judges get the columns they need.

`preflight` needs no model and comes before one is loaded; `left_out` needs the policy, or its outline, which
knows what it can start from. Both look at the rows of files, up to a bound, and at a few of those that are
generated.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from oneloop.core.protocols import Affording, Data, RowChecking
from oneloop.judge.isolation.process import CannotStart
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import Recipe
from oneloop.run.row_remarks import RowRemarks
from oneloop.sample.data.checked import Check, OnBadRow, RowPlacing, bad_rows, told, unchecked
from oneloop.sample.data.hub import Hub
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.dress.draw_budget import DrawBudget

STORED = 20_000
"""Most rows of a file that are checked, evenly spread."""
GENERATED = 8
"""Rows that are checked of data that is generated."""


@runtime_checkable
class Asking(Protocol):
    """A judge that knows which columns of the data it needs."""

    def lacks(self, columns: list[str]) -> list[str]:
        """Columns that the judge needs and that are not among `columns`, in words."""


def preflight(recipe: Recipe, remote: bool = True) -> list[str]:
    """Sentences about rows that will be left out. Raises RecipeError with every fault found.

    Without `remote`, data sets that are not on this machine are not looked at.
    """
    faults, notes = list[str](), list[str]()
    for where, data, judges, on_bad_row in sections(recipe):
        if not remote and not is_here(data):
            continue
        try:
            if note := _read(where, data, unchecked, on_bad_row):
                notes.append(note)
            columns = columns_of(data)
        except ValueError as error:
            faults.append(f"{where}.data: {error}")
            continue
        faults += _lacking(where, judges, columns)
    if faults:
        raise RecipeError(list(dict.fromkeys(faults)))
    return notes


def left_out(recipe: Recipe, policy: RowChecking, remote: bool = True) -> list[str]:
    """Sentences about rows that `policy`, or its outline, cannot use and that are left out, and remarks on
    others.

    Raises BadRows where they stop the run. Without `remote`, data sets that are not on this machine are not
    looked at.
    """
    notes = []
    for where, data, judges, on_bad_row in sections(recipe):
        if not remote and not is_here(data):
            continue
        phase = recipe.phases.get(where.split(".")[2]) if where.startswith("recipe.phases.") else None
        demonstrated = phase is not None and phase.sample == "demonstrations"
        check = RowRemarks(check_of(policy, demonstrated), judges)
        if note := _read(where, data, check, on_bad_row):
            notes.append(note)
        notes += [f"{where}.data: {remark}" for remark in check.sentences()]
    return notes


def afforded(recipe: Recipe, outline: Any) -> None:
    """Raises RecipeError, listing the subnets, for budgets of FLOPs that buy none of the policy's."""
    faults = []
    for name, phase in recipe.phases.items():
        for index, dress in enumerate(phase.plan.dress):
            if isinstance(dress, DrawBudget) and dress.column == "flops":
                place = f"recipe.phases.{name}.plan.dress[{index}].draw_budget"
                faults += [f"{place}: {fault}" for fault in _unaffordable(outline, dress.budgets.tolist())]
    if recipe.evaluate is not None:
        told = _unaffordable(outline, recipe.evaluate.flops)
        faults += [f"recipe.evaluate.flops: {fault}" for fault in told]
    if faults:
        raise RecipeError(faults)


def _unaffordable(outline: Any, budgets: Iterable[int]) -> Iterator[str]:
    least = min(budgets, default=None)
    try:
        if least is not None and isinstance(outline, Affording):
            outline.afford(least)
    except ValueError as error:
        yield str(error)


def is_here(data: Data) -> bool:
    """Whether `data` can be read without a network."""
    return not isinstance(data, Hub) or data.local


def check_of(policy: Any, demonstrated: bool) -> Check:
    """What a row must pass for `policy` to sample from it, or to learn what it demonstrates."""
    return (
        partial(policy.check_row, demonstrated=demonstrated) if isinstance(policy, RowChecking) else unchecked
    )


def sections(recipe: Recipe) -> Iterator[tuple[str, Data, tuple[Any, ...], OnBadRow]]:
    """(path in the recipe, data, judges of its rollouts, on_bad_row) of all data in the recipe."""
    for name, phase in recipe.phases.items():
        yield f"recipe.phases.{name}.plan", phase.plan.data, phase.judge, phase.plan.on_bad_row
    if (spec := recipe.evaluate) is not None:
        yield "recipe.evaluate", spec.data, recipe.evaluation_judges, spec.on_bad_row


def columns_of(data: Data) -> list[str]:
    """The columns of the first rows that can be read. Raises ValueError when none can."""
    first = range(min(GENERATED, len(data)))
    bad = bad_rows(data, first, unchecked)
    columns = dict.fromkeys(name for key in first if key not in bad for name in data[key])
    return list(columns)


def _read(where: str, data: Data, check: Check, on_bad_row: OnBadRow) -> str:
    """The sentence about bad rows of `data`; "" without any. Raises ValueError where they stop the run."""
    most = STORED if isinstance(data, RowPlacing | Rows) else GENERATED
    keys = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(np.int64)).tolist()
    note = told(bad_rows(data, keys, check), len(keys), on_bad_row)
    return f"{where}.data: {note}" if note else ""


def _lacking(where: str, judges: tuple[Any, ...], columns: list[str]) -> Iterator[str]:
    for index, judge in enumerate(judges):
        place = f"{where.removesuffix('.plan')}.judge[{index}]"
        try:
            for sentence in judge.lacks(columns) if isinstance(judge, Asking) else ():
                yield f"{place}: '{judge.name}': {sentence}"
        except CannotStart as error:
            yield f"{place}: {error}"
