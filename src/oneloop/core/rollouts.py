"""The two tables that flow through the loop: n rollouts, and N actions of all of them laid end to end.

A rollout is the path up from its `last` action, so what rollouts share (a prefix, the root of a
branching tree) exists once, is sampled once and is trained once. Shapes used everywhere below:

    n rollouts   N actions   M path entries (one per action of each rollout; M == N for chains)

Everything is frozen: `put`, `take`, `join` return new tables. A known column is declared once, as an
annotation below (columns.py), together with who writes it. NaN is "no verdict", never zero. `share` (1, or
0 = leave out) only goes down; selecting never removes rows.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from oneloop.core import draws, storage
from oneloop.core.columns import Declared, Facts, declarations, family
from oneloop.core.paths import Paths

Column = Tensor | list[Any]
Status = Literal["pending", "aborted", "stop", "length", "failed"]


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


class Actions(Table):
    """What the policy chose, one row an action; what the world said is the rollouts' `context`."""

    parent: Annotated[Tensor, Declared("the policy's sample")]
    """int64 [N], the action before, always earlier in the table; -1 at the start."""
    version: Annotated[Tensor, Declared("the policy's sample", recorded=True, shown=("token",))]
    """int64 [N], version of the weights that chose it; -1: somebody else's (a demonstration)."""
    logprob: Annotated[Tensor, Declared("the policy's sample", recorded=True, shown=("token",))]
    """float32 [N], log-probability under the law it was sampled from."""
    token: Annotated[Tensor, Declared("a language policy's sample", recorded=True)]
    """int64 [N], token ids."""
    span: Annotated[Tensor, Declared("a language policy's sample")]
    """int64 [N, 2], characters start..end of its rollout's `text` that the token wrote; may be empty."""
    flaw: Annotated[
        Tensor, Declared("the step_critic judge", recorded=True, mean="flaw_rate", shown=("token",))
    ]
    """float32 [N], how wrong the step is in which the action lies, 0 to 1; NaN: no usable critique."""
    solution_step: Annotated[Tensor, Declared("the step_critic judge", recorded=True, shown=("token",))]
    """int64 [N], number of that step, from 0; -1 in a text without steps."""
    latent: Annotated[Tensor, Declared("a flow policy's sample")]
    """[N, ...], what a denoising step arrived at, in the precision it was scored in."""
    entropy: Annotated[
        Tensor, Declared("the policy's annotate", recorded=True, mean="entropy", shown=("token",))
    ]
    """float32 [N], entropy of the law at that action."""
    proximal: Annotated[Tensor, Declared("the policy's annotate")]
    """float32 [N], log-probability under the weights at the start of this update."""
    reference: Annotated[Tensor, Declared("the policy's annotate (give the policy a reference)")]
    """float32 [N], log-probability under the reference model."""
    advantage: Annotated[
        Tensor, Declared("a credit part such as group_relative", recorded=True, shown=("token", "step"))
    ]
    """float32 [N], how much better than expected the action was; NaN: no verdict."""
    share: Annotated[
        Tensor, Declared("the policy's sample; select parts lower it", recorded=True, shown=("token", "step"))
    ]
    """float32 [N], 1, or 0 = leave out of the update."""
    ratio: Annotated[
        Tensor,
        Declared(
            "the policy_gradient objective",
            recorded=True,
            mean="ratio/mean",
            largest="ratio/max",
            smallest="ratio/min",
            shown=("token",),
        ),
    ]
    """float32 [N], probability now over probability when sampled."""
    clipped: Annotated[
        Tensor,
        Declared(
            "the policy_gradient objective", mean="clip_ratio/region_mean", last_mean="clip_ratio/last_pass"
        ),
    ]
    """float32 [N], 1 where the clip cuts the gradient off, else 0."""
    importance: Annotated[Tensor, Declared("the policy_gradient objective", mean="importance/mean")]
    """float32 [N], weight that corrects for what the sampler computes otherwise than the learner."""
    importance_capped: Annotated[
        Tensor, Declared("the policy_gradient objective", mean="importance/capped_ratio")
    ]
    """float32 [N], 1 where that weight was at its cap, else 0."""
    kl: Annotated[Tensor, Declared("the objectives kl and gaussian_kl", mean="kl", last_mean="kl/last_pass")]
    """float32 [N], estimate of the divergence from the reference."""
    nll: Annotated[Tensor, Declared("the objectives supervised and one_token", mean="nll")]
    """float32 [N], negative log-likelihood of the demonstrated action."""
    quantizer_loss: Annotated[Tensor, Declared("the reconstruction objective", mean="codes/quantizer_loss")]
    """float32 [N], loss of rounding an image's vectors to codes."""
    perplexity: Annotated[Tensor, Declared("the reconstruction objective", mean="codes/perplexity")]
    """float32 [N], how many codes the images of the micro-batch use, as if all were used alike."""
    code_use: Annotated[Tensor, Declared("the reconstruction objective", mean="codes/in_use")]
    """float32 [N], that number as a share of the codebook."""
    hit_rate: Annotated[Tensor, Declared("the one_token objective", mean="hit_rate")]
    """float32 [N], share of the draws that are the demonstrated token."""
    contrast: Annotated[Tensor, Declared("the style_contrast objective", mean="contrast")]
    """float32 [N], contrastive loss of the two references of a demonstration's writer."""
    closed: Annotated[Tensor, Declared("the reward_backprop objective", mean="hinge/closed_ratio")]
    """float32 [N], 1 where the reward is beyond its bound, so that the loss has no gradient."""
    logprob_gap: Annotated[
        Tensor,
        Declared("the learner", mean="sampling/logprob_gap_mean", largest="sampling/logprob_gap_max"),
    ]
    """float32 [N], |log-probability of the learner - that of the sampler|, while the weights are the same."""


class Rollouts(Table):
    """n rollouts over the table `actions` of N actions; `facts` of the batch: step, progress, seed."""

    id: Annotated[Tensor, Declared("the plan", recorded=True)]
    """int64 [n], never reused within a run."""
    group: Annotated[Tensor, Declared("the plan", recorded=True)]
    """int64 [n], candidates that are compared with one another share it."""
    key: Annotated[Tensor, Declared("the plan", recorded=True)]
    """int64 [n], row of the data set."""
    example: Annotated[list[dict[str, Any]], Declared("the plan")]
    """The data row itself: `prompt` and whatever columns the data has."""
    context: Annotated[list[tuple[tuple[int, Any], ...]], Declared("the plan")]
    """What the world said: ((depth, thing), ...); the prompt at depth 0, a tool's reply where it came."""
    budget: Annotated[Tensor, Declared("the plan")]
    """int64 [n], how many actions the rollout may take; -1: the policy's own limit."""
    round: Annotated[Tensor, Declared("the plan", recorded=True, shown=("rollout",))]
    """int64 [n], phase of its group in which the row was asked, 0 the first."""
    solve_rate: Annotated[Tensor, Declared("the plan, for dress parts alone")]
    """float64 [n], share of `correct` among the verdicts of the row's group so far; NaN: none."""
    seeded: Annotated[Tensor, Declared("the dress part seed_contexts", recorded=True, shown=("rollout",))]
    """int64 [n], number of solved examples put before the prompt it was sampled from; 0: none."""
    last: Annotated[Tensor, Declared("the policy's sample")]
    """int64 [n], last action; -1: none yet (a request)."""
    status: Annotated[list[Status], Declared("the policy's sample", recorded=True)]
    """pending, aborted, stop, length or failed."""
    text: Annotated[list[str], Declared("a language policy's sample", recorded=True)]
    """What was written, for judges and people; never encoded again."""
    image_tokens: Annotated[Tensor, Declared("the dress part draw_budget", recorded=True, shown=("rollout",))]
    """int64 [n], visual tokens of each picture in the prompt; the same for a whole group."""
    flops: Annotated[Tensor, Declared("the dress part draw_budget", recorded=True, shown=("rollout",))]
    """int64 [n], FLOPs a token that the subnet may take which samples the rollout and learns from it."""
    shown: Annotated[list[str], Declared("a vision-language policy's sample", recorded=True)]
    """The pictures of its prompt side by side, a small PNG file as base64 text; empty without any."""
    start: Annotated[Tensor, Declared("a flow policy's sample")]
    """float32 [n, ...], the noise an image began as; equal within a tree."""
    output: Annotated[Tensor, Declared("a flow policy's sample")]
    """float32 [n, C, H, W] in [0, 1], the image."""
    reference_output: Annotated[Tensor, Declared("a flow policy's sample (beside_reference: true)")]
    """float32 [n, C, H, W] in [0, 1], what the policy's reference made of the prompt, equal within a
    group."""
    tree: Annotated[Tensor, Declared("the plan's dress part fork", recorded=True, shown=("rollout",))]
    """int64 [n], rollouts with one number share a beginning."""
    branch: Annotated[Tensor, Declared("the plan's dress part fork", recorded=True)]
    """int64 [n], number of the leaf within its tree."""
    fork: Annotated[list[tuple[tuple[int, ...], int, float]], Declared("the plan's dress part fork")]
    """(steps at which the tree branches, into how many, correlation of siblings' noise)."""
    window: Annotated[Tensor, Declared("the plan's dress part window")]
    """int64 [n, 2], first step that is drawn and the one after the last; other steps follow the ODE."""
    reward: Annotated[Tensor, Declared("a judge", recorded=True)]
    """float64 [n], weighted sum of the verdicts; NaN: no verdict."""
    correct: Annotated[Tensor, Declared("a verifier", recorded=True)]
    """float64 [n], 1 or 0; NaN: no verdict."""
    critique: Annotated[list[Any], Declared("the step_critic judge", recorded=True)]
    """For each rollout its steps, [{step, text, wrong, words}, ...]; None without a usable critique."""
    propensity: Annotated[Tensor, Declared("the one_sided judge", recorded=True)]
    """float64 [n], the chance with which a verdict was paid for."""
    drop_group: Annotated[Tensor, Declared("the judge stage")]
    """bool [n], the rollout's group is refused: a judge with `on_error: drop_group` failed in it."""
    paid: Annotated[Tensor, Declared("the one_sided judge", recorded=True)]
    """bool [n], whether it was."""
    novelty: Annotated[Tensor, Declared("the credit part novelty", recorded=True)]
    """float64 [n], likelihood per action over that of its group; below 1: less likely than the others."""

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
