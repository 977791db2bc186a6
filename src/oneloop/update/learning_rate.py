"""The learning rate of an optimiser step: its schedule, and what it becomes for another batch size.

    sqrt     rate * sqrt(B / B0)    keeps the noise of an update: for Adam; BroRL's rule (arXiv 2510.01180)
    linear   rate * (B / B0)        keeps the path of many small steps: for plain gradient descent

B counts the rollouts of one optimiser step. A batch 8 times as wide, in as many mini-batches, has 2.83 times
the rate.
"""

import math
from typing import Literal

Scaling = Literal["sqrt", "linear"]
Schedule = Literal["constant", "linear", "cosine"]


def scale_learning_rate(
    learning_rate: float, base_batch: int, batch: int, scaling: Scaling = "sqrt"
) -> float:
    """`learning_rate`, chosen for `base_batch` rollouts an optimiser step, for `batch` of them.

    Raises ValueError when one of the batches is below 1.
    """
    if base_batch < 1 or batch < 1:
        raise ValueError(f"a batch has at least 1 rollout, got base_batch={base_batch} and batch={batch}")
    ratio = batch / base_batch
    return learning_rate * (ratio if scaling == "linear" else ratio**0.5)


def scheduled(schedule: Schedule, done: int, warmup: int, steps: int) -> float:
    """Factor of the peak rate after `done` of `steps` updates: up from 0 in `warmup`, then down to 0."""
    if done < warmup:
        return (done + 1) / warmup
    left = 1 - (done - warmup) / max(1, steps - warmup)
    shape = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}
    return max(0.0, shape[schedule])
