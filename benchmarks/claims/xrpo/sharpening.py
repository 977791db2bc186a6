"""Novelty sharpening on tables of 12 answers, of which one is common and right and two are rare and right.

Measured is what is left of the rare right answers (entropy over right answers, in nats), how often an
answer is right at all.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.claims.claim import Advance, Rows
from benchmarks.claims.xrpo.classroom import Classroom, GradientDescent, Logits, graded
from oneloop.core import draws
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.novelty import Novelty
from oneloop.update.objective.policy_gradient import PolicyGradient

PROMPTS, ANSWERS, RIGHT, SIZE, STEPS, RATE = 100, 12, 3, 16, 150, 1.0
COMMON = 2.0
"""Logit of the common right answer; the two rare ones have 0, the wrong ones N(0, 1)."""
Credit = Callable[[Rollouts], Rollouts]


METHODS: dict[str, Credit | None] = {
    "GRPO": None,
    "clip .5 (paper)": Novelty(),
    "clip 1": Novelty(clip=1.0),
}
UNITS = len(METHODS)


def requests(step: int, seed: int) -> Rollouts:
    """16 rows of every prompt."""
    count = PROMPTS * SIZE
    group = torch.arange(PROMPTS).repeat_interleave(SIZE)
    rows = [{"question": q, "answer": tuple(map(str, range(RIGHT)))} for q in range(PROMPTS)]
    columns: dict[str, Any] = {
        "id": torch.arange(count) + step * count,
        "group": group,
        "example": [rows[q] for q in group.tolist()],
        "last": torch.full((count,), -1),
    }
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), {"seed": seed})


def run(seed: int, advance: Advance) -> Rows:
    """One row a method, all from the same logits and draws."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(PROMPTS, ANSWERS, generator=draw, dtype=torch.float64)
    logits[:, :RIGHT] = torch.tensor([COMMON, 0.0, 0.0], dtype=torch.float64)
    made = {"sharpening: before": measured(logits)}
    for name, credit in METHODS.items():
        policy = Classroom(Logits(logits))
        learner = GradientDescent(policy, PolicyGradient(mean="action"), RATE * PROMPTS)
        for step in range(STEPS):
            batch = graded(policy.sample(requests(step, int(draws.mix(seed, "draws") >> 1)))[0])
            batch = GroupRelative()(batch)
            learner(batch if credit is None else credit(batch))
        made[f"sharpening: {name}"] = measured(next(policy.model.parameters()).detach())
        advance(f"seed {seed}: sharpening, {name}")
    return made


def measured(logits: Tensor) -> dict[str, float]:
    """Probability of a right answer, and entropy over which right one, means over prompts."""
    right = logits.softmax(-1)[:, :RIGHT]
    modes = right / right.sum(-1, keepdim=True)
    entropy = -torch.xlogy(modes, modes).sum(-1)
    return {"correct": float(right.sum(-1).mean()), "entropy of right answers": float(entropy.mean())}
