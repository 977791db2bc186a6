"""What every part of a room must survive; each room's test_contract.py enrols its files by finding them."""

import torch
from torch import Tensor

from oneloop.core.declared import declared
from oneloop.core.rollouts import Rollouts
from oneloop.core.rooms import build, names

# parts that cannot be built without options, or whose defaults need more columns: how to build them here
OPTIONS: dict[str, dict] = {
    "proxy_codes": {"teacher": "somewhere"},
    "reward_backprop": {"judge": {"preference": {"model": "pair_mlp"}}},
}


def every_part(room: str) -> list:
    """One instance of each part of `room`, with default options."""
    return [build(room, {name: OPTIONS.get(name, {})}) for name in names(room)]


def filled(rollouts: Rollouts, part: object) -> Rollouts:
    """`rollouts` with the columns `part` reads that are not there yet, filled with random numbers."""
    draw = torch.Generator().manual_seed(11)
    for column in declared(part, "reads"):
        table, _, name = column.rpartition(".")
        holder = rollouts.actions if table else rollouts
        if name not in holder:
            numbers = torch.rand(len(holder), generator=draw, dtype=torch.float64)
            numbers = numbers.round() if name in ("correct", "flaw") else numbers
            rollouts = rollouts.put_actions({name: numbers}) if table else rollouts.put({name: numbers})
    return rollouts


def snapshot(rollouts: Rollouts) -> dict[str, object]:
    """A deep copy of every column, to see whether a part wrote into its input."""
    both = {**rollouts.columns, **{f"actions.{name}": c for name, c in rollouts.actions.columns.items()}}
    return {name: c.clone() if isinstance(c, Tensor) else list(c) for name, c in both.items()}


def assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    assert list(before) == list(after)
    for name, column in before.items():
        if isinstance(column, Tensor):
            assert column.dtype == after[name].dtype
            assert torch.equal(column.nan_to_num(7e7), after[name].nan_to_num(7e7)), name
        else:
            assert column == after[name], name


def permuted(rollouts: Rollouts, seed: int = 5) -> tuple[Rollouts, Tensor]:
    """(the rows in another order, for each new action the old one)."""
    order = torch.randperm(len(rollouts), generator=torch.Generator().manual_seed(seed))
    marked = rollouts.put_actions(mark=torch.arange(len(rollouts.actions)))
    moved = marked.take(order)
    columns = {name: column for name, column in moved.actions.columns.items() if name != "mark"}
    return Rollouts(
        moved.columns, type(moved.actions)(columns, len(moved.actions)), moved.facts
    ), moved.actions["mark"]
