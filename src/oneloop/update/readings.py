"""What objectives and the learner observe while they pass over a batch: per action, and per optimiser step.

A batch may be passed over several times (`epochs`), and what is observed changes with the weights. A column
is the mean over the passes; where there was more than one, `_last`, `_low` and `_high` tell the last pass and
the extremes over all of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Seen = tuple[Tensor, Mapping[str, Tensor]]
"""(actions [a], values [a] by name) of one micro-batch."""


class Readings:
    """Readings of one batch of `actions` actions."""

    def __init__(self, actions: int):
        self.size = actions
        self.passes: dict[str, ReadingSums] = {}
        self.steps: dict[str, list[float]] = defaultdict(list)

    def add(self, seen: Iterable[Seen], places: Tensor) -> None:
        """Adds the readings of one optimiser step; `places` [b] are its actions' indices in the batch."""
        for actions, values in seen:
            for name, value in values.items():
                if name not in self.passes:
                    self.passes[name] = ReadingSums(self.size)
                self.passes[name].add(places[actions], value)

    def step(self, **values: float) -> None:
        """Adds values of one optimiser step, by name."""
        for name, value in values.items():
            self.steps[name].append(value)

    def columns(self) -> dict[str, Tensor]:
        """Action columns float32 [N], NaN where nothing was read."""
        return {
            name + suffix: column.float()
            for name, passes in self.passes.items()
            for suffix, column in passes.columns().items()
        }

    def means(self) -> dict[str, float]:
        """Means over the optimiser steps of one batch."""
        return {name: sum(values) / len(values) for name, values in self.steps.items()}


class ReadingSums:
    """One reading of every action, summed up over several passes."""

    def __init__(self, size: int):
        self.count, self.total = torch.zeros(size), torch.zeros(size, dtype=torch.float64)
        self.last, self.low, self.high = (torch.full((size,), torch.nan) for _ in range(3))

    def add(self, actions: Tensor, value: Tensor) -> None:
        """`value` [a] of `actions` [a] in one pass; NaN is no reading."""
        value = value.detach().float().cpu()
        actions, value = actions[~value.isnan()], value[~value.isnan()]
        self.count[actions] += 1
        self.total[actions] += value
        self.last[actions] = value
        self.low[actions] = torch.fmin(self.low[actions], value)
        self.high[actions] = torch.fmax(self.high[actions], value)

    def columns(self) -> dict[str, Tensor]:
        """{suffix of the reading's name: float32 [N]}: "" the mean and, after several passes, `_last` ..."""
        mean = {"": self.total / self.count}  # 0 / 0 is NaN: no reading
        if bool((self.count <= 1).all()):
            return mean
        return mean | {"_last": self.last, "_low": self.low, "_high": self.high}
