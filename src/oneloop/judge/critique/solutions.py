"""One solution as its critics see it, what they said of it, and the columns that are made of that."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import Verdict
from oneloop.judge.critique.steps import SolutionStep, token_steps


@dataclass
class Solution:
    """One rollout as its critics see it, and what they said: {step: words} of each usable critique."""

    row: int
    text: str
    steps: list[SolutionStep] = field(default_factory=list)
    wrong: list[dict[int, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cost: float = 0.0


def verdict(solution: Solution, votes: Tensor | None) -> Verdict:
    """The share of steps that are right; nothing for an empty text; an error without a usable critique."""
    if votes is None:
        failed = solution.failures
        return Verdict(error=f"no usable critique ({len(failed)} failed), first: {failed[0]}")
    return Verdict(1 - float(votes.mean())) if len(votes) else Verdict()


def critique(solution: Solution, votes: Tensor | None) -> list[dict[str, Any]] | None:
    """The steps with their votes and what critics said of them, for people and for the record."""
    if votes is None:
        return None
    return [
        {
            "step": k,
            "text": solution.text[step.start : step.end],
            "wrong": float(votes[k]),
            "words": "\n".join(dict.fromkeys(w[k] for w in solution.wrong if w.get(k))),
        }
        for k, step in enumerate(solution.steps)
    ]


def marked(
    rollouts: Rollouts, solutions: Sequence[Solution], votes: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """(flaw float32 [N], solution_step int64 [N]) from the votes on the steps of each rollout."""
    flaw = torch.zeros(len(rollouts.actions))
    number = torch.full((len(rollouts.actions),), -1)
    row, action = rollouts.paths
    pieces = action.split(torch.bincount(row, minlength=len(rollouts)).tolist()) if len(rollouts) else ()
    for solution, voted, places in zip(solutions, votes, pieces, strict=True):
        steps = token_steps(rollouts.actions.span[places, 0], solution.steps)
        number[places] = steps
        if voted is None:
            flaw[places] = torch.nan
        elif len(voted):
            flaw[places] = voted[steps]
    return flaw, number


def warn_of_single_steps(asked: Sequence[Solution], separator: str) -> None:
    """Where most solutions are one step, one flaw penalises everything."""
    single = sum(len(solution.steps) == 1 for solution in asked)
    if len(asked) >= 8 and 2 * single > len(asked):
        warnings.warn(
            # no counts: a warning that is worded alike is shown once
            "step_critic: most solutions are a single step, so a flaw marks all their tokens; look for "
            f"another separator than {separator!r}, or prompt for steps",
            stacklevel=3,
        )
