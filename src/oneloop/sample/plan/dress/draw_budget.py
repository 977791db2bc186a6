"""Draw a budget for each group, rollout or batch: one checkpoint then serves them all.

    column          what is drawn                                            a method that draws it
    budget          actions that a rollout may take, or tokens it keeps      One-D-Piece (arXiv 2501.10064)
    image_tokens    visual tokens of each picture in the prompt              TokenFLEX (arXiv 2504.03154)
    flops           FLOPs a token of the subnet that samples and learns      ShiftNAS (arXiv 2307.08300)

Tail Token Drop of One-D-Piece is `{least: 1, most: N, each: rollout}`: a decoder learns to make an image of
any prefix, and the earlier a token, the more it must say. Budgets that are served later should be among
those that are drawn: the ones between are not learned for free. Draws are a function of (seed, number of
group, rollout or batch), and of the law at that moment where it follows progress.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from oneloop.core.part import Of, part
from oneloop.core.protocols import Chances, DrawDefaults, trait
from oneloop.core.rollouts import Rollouts
from oneloop.sample.plan.draw.uniform import Uniform


@part(reads=("id", "group"), writes=lambda self: (self.column,), paper="arXiv 2307.08300")
class DrawBudget:
    """Writes `budget`, `image_tokens` or `flops`, int64 [n], for fresh rows."""

    column: Literal["budget", "image_tokens", "flops"] = "budget"
    """What is drawn: actions, visual tokens of a picture, or FLOPs a token."""
    choices: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Budgets to choose from; empty: all whole numbers from `least` to `most`."""
    least: Annotated[int, Field(ge=1)] = 1
    """Smallest budget, where there are no `choices`."""
    most: Annotated[int, Field(ge=1)] | None = None
    """Largest budget, where there are no `choices`."""
    draw: Annotated[Any, Of("draw")] = dataclasses.field(default_factory=Uniform)
    """How likely each is: uniform, weighted, powers_of_two or progress."""
    each: Literal["group", "rollout", "batch"] = "group"
    """What has a budget of its own: every group (its rollouts compare), every rollout, or every batch."""

    def __post_init__(self) -> None:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices must be different numbers, got {list(self.choices)}")
        if bool(self.choices) == (self.most is not None):
            raise ValueError("give either choices or most, the largest budget (from least = 1 on)")
        if self.most is not None and self.most < self.least:
            raise ValueError(f"most must be at least least ({self.least}), got {self.most}")
        _ = self.chances

    @property
    def budgets(self) -> NDArray[np.int64]:
        """[K], what may be drawn."""
        if self.most is not None:
            return np.arange(self.least, self.most + 1)
        return np.array(self.choices)

    @property
    def learns(self) -> Sequence[str]:
        """See `oneloop.core.protocols.DressDefaults`."""
        return tuple(trait(self.draw, DrawDefaults, "learns"))

    @cached_property
    def chances(self) -> Chances:
        """How likely each budget is now."""
        made: Chances = self.draw.chances(self.budgets.tolist())
        return made

    def begin(self) -> None:
        """Forgets what was learned."""
        vars(self).pop("chances", None)

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with what was drawn."""
        step = torch.full_like(rollouts.id, int(rollouts.facts["step"]))
        named = {"group": rollouts.group, "rollout": rollouts.id, "batch": step}[self.each]
        places = self.chances.draw(int(rollouts.facts["seed"]), named.numpy())
        return rollouts.put({self.column: torch.from_numpy(self.budgets[places])})

    def learn(self, finished: Rollouts) -> Rollouts:
        """Tells the law of draws what came of them; the rollouts stay as they are."""
        self.chances.learn(self._places(finished[self.column]), finished)
        return finished

    def after_update(self, learner: Any, batch: Rollouts) -> None:
        """Tells the law of draws what was learned from."""
        self.chances.after_update(self._places(batch[self.column]), batch)

    def _places(self, drawn: Tensor) -> NDArray[np.int64]:
        order = np.argsort(self.budgets)
        places: NDArray[np.int64] = order[np.searchsorted(self.budgets[order], drawn.numpy())]
        return places

    def metrics(self) -> dict[str, float]:
        """See `oneloop.core.protocols.Measured`."""
        return self.chances.metrics(f"draw/{self.column}", [str(budget) for budget in self.budgets])

    def state_dict(self) -> dict[str, Any]:
        """What the law of draws has learned."""
        return self.chances.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Restores what `state_dict` returned."""
        self.chances.load_state_dict(state)
