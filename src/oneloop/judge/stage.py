"""The judge stage: asks every judge, says which failed on what, and sums the verdicts into `reward`.

    reward = sum over the verdicts there are of w r  *  sum |w| / sum over the verdicts there are of |w|

so a judge without an opinion is left out instead of counting as 0 (with every verdict there, the factor
is 1). An error in a judge with a weight makes the reward NaN, and its `on_error` says what else happens.
A judge that fails on every rollout is an outage: warned of and counted, never a low score. Left out: judges
that compare whole groups (a plan may hand over part of one); they come first among the credit parts. A
judge of your own class runs in this process without limits; `function` and `verifier` are the killable ones.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from oneloop.core.declared import declared
from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.protocols import JudgeDefaults, Remembering, trait
from oneloop.core.rollouts import Column, MissingColumn, Rollouts, Table
from oneloop.core.text import words_of
from oneloop.core.verdicts import JudgeError, Verdict, columns
from oneloop.judge.isolation.process import CannotStart

Judge = Callable[[Rollouts], Rollouts]
SHOWN = 20
"""Errors of a batch that are kept as sentences; all are counted."""


class JudgeOutage(UserWarning):
    """A judge failed on every rollout of a batch."""


class Judging:
    """Calls `judges` in order; writes what each of them writes, `reward`, and `drop_group` (bool [n]).

    A judge is a part with `name`, `weight` (1 without) and `limits`; it writes `reward.<name>` and may write
    `error.<name>`. `correct` is the first judge's that writes it. `facts["judges"]` holds for each judge
    {rollouts, errors, none, outage}, `facts["judge_errors"]` the first sentences.
    """

    def __init__(self, judges: Sequence[Judge]):
        names = [judge_name(judge) for judge in judges]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two judges are called {sorted(twice)}; give one of them another `name`")
        if not any(weight_of(judge) for judge in judges):
            raise ValueError(f"no judge has a weight, so there is no reward; judges: {names or 'none'}")
        self.judges = list(judges)

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises JudgeError when a judge cannot work at all, or is in error with on_error "stop"."""
        judged = rollouts
        for judge in self.judges:
            judged = _keep_correct(judged, _retried(judge, judged))
        judged = judged.put_facts(**_report(self.judges, judged))
        # always there, so that batches with and without errors have the same columns
        judged = judged.put(reward=self.reward(judged), drop_group=torch.zeros(len(judged), dtype=torch.bool))
        for judge in self.judges:
            judged = _apply(judge, judged)
        return judged

    @property
    def _remembering(self) -> list[Any]:
        """Judges that learn from what they judged, so that they have a state."""
        return [judge for judge in self.judges if isinstance(judge, Remembering)]

    def begin(self) -> None:
        """Makes every judge forget what it learned: a phase starts."""
        for judge in self._remembering:
            judge.begin()

    def learn(self, judged: Rollouts) -> None:
        """The judged rollouts of one ask, new or from the journal, before the next is judged."""
        for judge in self._remembering:
            judge.learn(judged)

    def state_dict(self) -> list[dict[str, Any]]:
        """What judges remember."""
        return [judge.state_dict() for judge in self._remembering]

    def load_state_dict(self, state: Sequence[dict[str, Any]]) -> None:
        """What `state_dict` gave, to the bit."""
        for judge, saved in zip(self._remembering, state, strict=True):
            judge.load_state_dict(saved)

    def reward(self, judged: Rollouts) -> Tensor:
        """float64 [n], the weighted sum; NaN without a verdict, or with an error in a judge of weight."""
        weights = torch.tensor([weight_of(judge) for judge in self.judges], dtype=torch.float64)
        verdicts = torch.stack([judged[f"reward.{judge_name(judge)}"].double() for judge in self.judges])
        there = ~verdicts.isnan() & (weights != 0)[:, None]
        total = (verdicts.nan_to_num(0) * weights[:, None] * there).sum(0)
        present = (weights.abs()[:, None] * there).sum(0)
        reward = total * torch.where(present > 0, weights.abs().sum() / present, math.nan)
        failed = torch.zeros(len(judged), dtype=torch.bool)
        for judge in self.judges:
            if weight_of(judge):
                failed |= _failed(judge, judged)
        return reward.masked_fill(failed, math.nan)


def judge_name(judge: Judge) -> str:
    """The name in the columns a judge writes."""
    own = judge.__name__ if inspect.isroutine(judge) else type(judge).__name__.lower()
    return str(trait(judge, JudgeDefaults, "name") or own)


def weight_of(judge: Judge) -> float:
    """The judge's weight in the reward; 0 for one that is only logged."""
    return float(trait(judge, JudgeDefaults, "weight"))


def _limits_of(judge: Judge) -> JudgeLimits:
    limits: JudgeLimits = trait(judge, JudgeDefaults, "limits")
    return limits


def _retried(judge: Judge, rollouts: Rollouts) -> Rollouts:
    """The judge's columns, rollouts in error judged again as often as its limits allow."""
    judged = _judged(judge, rollouts)
    for _ in range(_limits_of(judge).retries):
        if not (failed := _failed(judge, judged)).any():
            break
        part = rollouts.take(failed)
        again = _judged(judge, part)
        written = {name: again[name] for name in again if name not in part or again[name] is not part[name]}
        judged = judged.put(_patched(judged, failed.nonzero().squeeze(1), written))
        places = rollouts.structure.take(failed.nonzero().squeeze(1))[0]
        marks = {name: again.actions[name] for name in again.actions if name not in part.actions}
        judged = judged.put_actions(_patched(judged.actions, places, marks))
    return judged


def _judged(judge: Judge, rollouts: Rollouts) -> Rollouts:
    """What the judge wrote; an exception of its own is an error on every rollout."""
    name = judge_name(judge)
    try:
        judged = judge(rollouts)
    except (MissingColumn, CannotStart, JudgeError):
        raise
    except (Exception, SystemExit) as error:  # a judge that calls exit() must not end the run, with code 0
        return _unjudged(judge, rollouts, error)
    wanted = f"judge '{name}' must return its {len(rollouts)} rollouts with a tensor 'reward.{name}'"
    if len(judged) != len(rollouts):
        raise JudgeError(f"{wanted}, got {len(judged)} rollouts")
    if f"reward.{name}" not in judged or not isinstance(judged[f"reward.{name}"], Tensor):
        raise JudgeError(f"{wanted}, got the columns {', '.join(judged)}")
    return judged if f"error.{name}" in judged else judged.put({f"error.{name}": [None] * len(judged)})


def _unjudged(judge: Judge, rollouts: Rollouts, error: BaseException) -> Rollouts:
    """All columns of a judge that raised, as "no verdict" and the error. Raises JudgeError for a judge that
    writes more than verdicts: what it means by "unknown" there only it can say."""
    name, words = judge_name(judge), f"{type(error).__name__}: {words_of(error)}"
    written = columns(name, [Verdict(error=words)] * len(rollouts))
    own = {*written, f"extra.{name}", "correct"}
    if rest := [column for column in declared(judge, "writes") if column not in own]:
        raise JudgeError(
            f"judge '{name}' failed on a batch of {len(rollouts)} rollouts and wrote no {', '.join(rest)}: "
            f"{words}. The rollouts are kept; mend the cause, then continue with --resume"
        ) from error
    if "correct" in declared(judge, "writes") and "correct" not in rollouts:
        written["correct"] = torch.full((len(rollouts),), math.nan, dtype=torch.float64)
    return rollouts.put(written)


def _patched(judged: Table, rows: Tensor, written: dict[str, Column]) -> dict[str, Column]:
    """The columns of `judged` with `written` in these rows."""
    patched: dict[str, Column] = {}
    for name, new in written.items():
        old = judged[name]
        if isinstance(new, Tensor):
            patched[name] = old.index_copy(0, rows, new)
        else:
            patched[name] = list(old)
            for i, value in zip(rows.tolist(), new, strict=True):
                patched[name][i] = value
    return patched


def _keep_correct(before: Rollouts, after: Rollouts) -> Rollouts:
    return after.put(correct=before.correct) if "correct" in before else after


def _failed(judge: Judge, judged: Rollouts) -> Tensor:
    """bool [n]: where the judge is in error."""
    return torch.tensor(
        [error is not None for error in judged[f"error.{judge_name(judge)}"]], dtype=torch.bool
    )


def sentences(judge: Judge, judged: Rollouts) -> list[str]:
    """What the judge failed on, each with the rollout's id and the row of the data."""
    name = judge_name(judge)
    rows = zip(judged.id.tolist(), judged.key.tolist(), judged[f"error.{name}"], strict=True)
    return [
        f"judge '{name}' on rollout {i} (data row {key}): {error}"
        for i, key, error in rows
        if error is not None
    ]


def _report(judges: Sequence[Judge], judged: Rollouts) -> dict[str, Any]:
    """The facts: counts of each judge, and the first sentences of all. Warns of an outage."""
    counts, told = {}, []
    for judge in judges:
        name = judge_name(judge)
        errors = int(_failed(judge, judged).sum())
        none = int(judged[f"reward.{name}"].isnan().sum()) - errors
        outage = 0 < len(judged) == errors
        counts[name] = {"rollouts": len(judged), "errors": errors, "none": none, "outage": outage}
        told += sentences(judge, judged)
        if outage:
            warnings.warn(
                f"judge '{name}' failed on all {errors} rollouts, first: {told[-errors]}", JudgeOutage, 2
            )
    return {"judges": counts, "judge_errors": told[:SHOWN]}


def _apply(judge: Judge, judged: Rollouts) -> Rollouts:
    """What `on_error` says, where the judge is in error; a judge that is only logged can only stop."""
    failed, on_error = _failed(judge, judged), _limits_of(judge).on_error
    if not failed.any():
        return judged
    if on_error == "stop":
        raise JudgeError(
            f"{sentences(judge, judged)[0]}; {int(failed.sum())} of {len(judged)} rollouts failed"
        )
    if not weight_of(judge):
        return judged
    status = ["failed" if bad else old for old, bad in zip(judged.status, failed.tolist(), strict=True)]
    if on_error == "drop_group":
        groups = torch.isin(judged.group, judged.group[failed])
        judged = judged.put(drop_group=judged["drop_group"] | groups)
    return judged.put(status=status)
