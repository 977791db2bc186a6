"""End rollouts of a flow policy early, at a random step; the next call's predicted image is what is judged.

    stop ~ uniform {first, ..., last}        budget = stop: so many steps, then one call renders x0 = x -
    sigma v

What reward back-propagation differentiates (ReFL, arXiv 2304.05977, stops 30 to 39 of 40; OneReward,
2508.21066, does not say where). The gradient of the image grows with the noise level left at the stop, and
the earlier the stop the more of a blur is judged. A stop is a function of (seed, rollout id).
"""

from typing import Annotated

import torch
from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


@part(reads=("id",), writes=("budget",), paper="arXiv 2304.05977")
class Stop:
    """Writes `budget`, int64 [n], for fresh rows: the number of steps before the call that renders."""

    first: Annotated[int, Field(ge=1)] = 10
    """Fewest steps before the call that renders."""
    last: Annotated[int, Field(ge=1)] = 19
    """Most steps before the call that renders; policy.flow.steps - 1 is the whole rollout."""

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"last must be at least first ({self.first}), got {self.last}")

    @property
    def steps_needed(self) -> int:
        """The calls of the network a policy must make for the latest stop: at the next one there is no noise
        left."""
        return self.last + 1

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with the step at which each ends."""
        keys = draws.mix(rollouts.facts["seed"], "stop", rollouts.id.numpy())
        draw = torch.from_numpy(draws.uniforms(keys, 0))
        return rollouts.put(budget=self.first + (draw * (self.last - self.first + 1)).long())
