"""The two tables that flow through the loop: n rollouts, and N actions of all of them laid end to end.

A rollout is the path up from its `last` action, so what rollouts share (a prefix, the root of a
branching tree) exists once, is sampled once and is trained once. Shapes used everywhere below:

    n rollouts   N actions   M path entries (one per action of each rollout; M == N for chains)

Everything is frozen: `put`, `take`, `join` return new tables. A known column is declared once, as an
annotation in known_columns.py, together with who writes it. NaN is "no verdict", never zero. `share` (1, or
0 = leave out) only goes down; selecting never removes rows.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from oneloop.core import draws, storage
from oneloop.core.columns import Facts, declarations, family
from oneloop.core.known_columns import ActionColumns, RolloutColumns
from oneloop.core.paths import Paths

Column = Tensor | list[Any]


class MissingColumn(AttributeError, KeyError):
    """A column was read that nobody wrote. Both an AttributeError (for hasattr) and a KeyError."""

    def __str__(self) -> str:
        return str(self.args[0])


class Table:
    """Named columns of one length: tensors with that leading dimension, or lists."""

    def __init__(self, columns: Mapping[str, Column], size: int | None = None):
        sizes = {name: len(column) for name, column in columns.items()}
        size = next(iter(sizes.values()), 0) if size is None else size
        wrong = {name: length for name, length in sizes.items() if length != size}
        if wrong:
            raise ValueError(f"{type(self).__name__} has {size} rows, but these columns differ: {wrong}")
        self._columns = dict(columns)
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __getitem__(self, name: str) -> Any:
        if name in self._columns:
            return self._columns[name]
        known = declarations(type(self)).get(name) or family(name)  # type: ignore[arg-type]
        hint = f"{known.by} writes it" if known else "no known part writes it"
        raise MissingColumn(f"nobody wrote the column '{name}' ({hint}; written so far: {', '.join(self)})")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle probe these before the table is filled
            raise AttributeError(name)
        return self[name]

    @property
    def columns(self) -> dict[str, Column]:
        """A new dict of all columns, in the order they were written."""
        return dict(self._columns)

    def put(self, columns: Mapping[str, Column] | None = None, /, **named: Column) -> Self:
        """A new table with these columns added or replaced. Raises ValueError on another length."""
        new = copy.copy(self)
        Table.__init__(new, {**self._columns, **(columns or {}), **named}, len(self))
        return new


class Actions(ActionColumns, Table):
    """What the policy chose, one row an action; what the world said is the rollouts' `context`."""


class Rollouts(RolloutColumns, Table):
    """n rollouts over the table `actions` of N actions; `facts` of the batch: step, progress, seed."""

    actions: Actions
    facts: Facts

    def __init__(
        self, columns: Mapping[str, Column], actions: Actions, facts: Mapping[str, Any] | None = None
    ):
        super().__init__(columns)
        self.actions = actions
        self.facts = Facts(facts or {})
        self._paths: Paths | None = None

    def put(self, columns: Mapping[str, Column] | None = None, /, **named: Column) -> Self:
        """A new table with these rollout columns added or replaced."""
        new = super().put(columns, **named)
        if "last" in named or "last" in (columns or {}):
            new._paths = None
        return new

    def put_actions(self, columns: Mapping[str, Column] | None = None, /, **named: Column) -> Self:
        """A new table with these action columns added or replaced."""
        new = copy.copy(self)
        new.actions = self.actions.put(columns, **named)
        if "parent" in named or "parent" in (columns or {}):
            new._paths = None
        return new

    def put_facts(self, **facts: Any) -> Self:
        """A new table with these facts of the batch added or replaced."""
        new = copy.copy(self)
        new.facts = Facts({**self.facts, **facts})
        return new

    def without(self, *names: str) -> Self:
        """The same table less these rollout columns."""
        new = copy.copy(self)
        new._columns = {name: column for name, column in self._columns.items() if name not in names}
        return new

    # structure

    @property
    def structure(self) -> Paths:
        """Where each rollout runs through the action table (computed once, kept across `put`)."""
        if self._paths is None:
            self._paths = Paths(self.last, self.actions.parent)
        return self._paths

    @property
    def paths(self) -> tuple[Tensor, Tensor]:
        """(row [M], action [M]): one entry per action of each rollout, from first to last action."""
        return self.structure.row, self.structure.action

    @property
    def owner(self) -> Tensor:
        """int64 [N], the first rollout through each action."""
        return self.structure.owner

    @property
    def depth(self) -> Tensor:
        """int64 [N], number of actions before each action."""
        return self.structure.depth

    @property
    def length(self) -> Tensor:
        """int64 [n], number of actions of each rollout."""
        return self.structure.length

    def gather(self, values: Tensor, how: Literal["sum", "mean"] = "mean") -> Tensor:
        """Actions [N] -> rollouts [n], over each rollout's path; the mean of no actions is NaN."""
        row, action = self.paths
        sums = values.new_zeros(len(self)).index_add_(0, row, values[action])
        return sums if how == "sum" else sums / self.length.to(values.dtype)

    def spread(self, values: Tensor) -> Tensor:
        """Rollouts [n] -> actions [N]; a shared action gets the mean over the rollouts through it."""
        if self.structure.is_chain:
            return values[self.owner]
        row, action = self.paths
        sums = values.new_zeros(len(self.actions)).index_add_(0, action, values[row])
        return sums / torch.bincount(action, minlength=len(self.actions)).to(values.dtype)

    def uniforms(self, name: str, actions: Tensor, width: int) -> Tensor:
        """float64 [a, width] in [0, 1): draws that depend on (seed, step, rollout id, depth, name) alone."""
        owners = self.id[self.owner[actions]].numpy()
        key = draws.mix(self.facts["seed"], self.facts["step"], name, owners, self.depth[actions].numpy())
        return torch.from_numpy(draws.uniforms(key[:, None], np.arange(width)[None, :]))

    # whole rows

    def take(self, rows: Tensor) -> Self:
        """These rollouts (indices [k] or flags [n]), in the order given, with their actions."""
        rows = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
        actions, last, parent = self.structure.take(rows)
        columns = {name: _pick(column, rows) for name, column in self._columns.items()}
        table = {name: _pick(column, actions) for name, column in self.actions.columns.items()}
        if "parent" in table:
            table["parent"] = parent
        return type(self)({**columns, "last": last}, Actions(table, len(actions)), self.facts)

    def split(self, flags: Tensor) -> tuple[Self, Self]:
        """(where `flags` [n] hold, the rest)."""
        return self.take(flags), self.take(~flags)

    def parts(self, labels: Tensor) -> list[Self]:
        """The rows of each of `labels` [n], labels ascending: one `take` a label, for the price of one."""
        order = labels.argsort(stable=True)
        sizes = labels.unique(return_counts=True)[1].tolist()
        if not self.structure.is_chain:
            return [self.take(rows) for rows in order.split(sizes)]
        whole = self.take(order)  # chains in row order, so that every part is a slice
        actions = [int(part.sum()) for part in whole.length.split(sizes)]
        row_ends, action_ends = np.cumsum(sizes).tolist(), np.cumsum(actions).tolist()
        bounds = zip(row_ends, sizes, action_ends, actions, strict=True)
        return [
            whole._slice(slice(row - rows, row), slice(action - count, action))
            for row, rows, action, count in bounds
        ]

    def _slice(self, rows: slice, actions: slice) -> Self:
        """Consecutive rows of a table of chains, and the actions that are theirs."""
        columns = {name: column[rows] for name, column in self._columns.items()}
        table = {name: column[actions] for name, column in self.actions.columns.items()}
        columns["last"] = _shift(self.last[rows], -actions.start)
        table["parent"] = _shift(self.actions.parent[actions], -actions.start)
        return type(self)(columns, Actions(table, actions.stop - actions.start), self.facts)

    @classmethod
    def join(cls, pieces: Sequence["Rollouts"]) -> "Rollouts":
        """All pieces, one below the other; facts are the first one's.

        A piece without actions joins any action table (fresh rows beside resumed ones).
        Raises ValueError when the columns of two pieces differ, naming them.
        """
        pieces = [piece for piece in pieces if len(piece)] or list(pieces[:1])
        if len(pieces) == 1:
            return pieces[0]
        _same_columns("rollout", pieces)
        acting = [piece.actions for piece in pieces if len(piece.actions)] or [pieces[0].actions]
        _same_columns("action", acting)
        offsets = np.cumsum([0] + [len(piece.actions) for piece in pieces])
        moved = [_shift(piece.last, int(o)) for piece, o in zip(pieces, offsets[:-1], strict=True)]
        columns = {name: _concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        columns["last"] = torch.cat(moved)
        table = {name: _concatenate([actions[name] for actions in acting]) for name in acting[0]}
        starts = np.cumsum([0] + [len(actions) for actions in acting])
        shifted = [_shift(actions.parent, int(o)) for actions, o in zip(acting, starts[:-1], strict=True)]
        table["parent"] = torch.cat(shifted)
        return cls(columns, Actions(table), pieces[0].facts)

    # disk

    def state_dict(self) -> dict[str, Any]:
        """All columns and facts, as `storage` stores them."""
        return {"rollouts": self.columns, "actions": self.actions.columns, "facts": dict(self.facts)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Rollouts":
        """The table whose `state_dict` this is."""
        return cls(state["rollouts"], Actions(state["actions"]), state["facts"])

    def save(self, folder: Path) -> None:
        """Writes the tables to the new `folder`, whole or not at all; no pickle."""
        storage.write_folder(folder, lambda path: storage.write_state(path, self.state_dict()))

    @classmethod
    def load(cls, folder: Path) -> "Rollouts":
        """What `save` wrote."""
        return cls.from_state(storage.read_state(folder))


def _pick(column: Column, rows: Tensor) -> Column:
    return column[rows] if isinstance(column, Tensor) else [column[i] for i in rows.tolist()]


def _concatenate(columns: Sequence[Column]) -> Column:
    if isinstance(columns[0], Tensor):
        return torch.cat([column for column in columns if isinstance(column, Tensor)])
    return [item for column in columns for item in column]


def _shift(indices: Tensor, offset: int) -> Tensor:
    return torch.where(indices < 0, indices, indices + offset)


def _same_columns(what: str, tables: Sequence[Table]) -> None:
    for table in tables[1:]:
        different = set(table) ^ set(tables[0])
        if different:
            raise ValueError(
                f"cannot join: {what} columns {sorted(different)} are in one piece but not in the other"
            )
