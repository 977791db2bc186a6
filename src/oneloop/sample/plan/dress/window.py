"""Draw noise in a window of denoising steps only, which slides during training (MixGRPO, arXiv 2507.21802).

    begin = first + stride * (step // every), until `last`, then from `first` again;   end = begin + size

The window must end within the rollout, whose actions are one fewer than the policy's steps. Steps outside
of it follow the ODE and are not trained; forks are drawn wherever they are, which with a standing window
(`every` 0) is BranchGRPO-Mix. MixGRPO: size 4, every 25, stride 1, with noise "flow" at .7 and 25 steps. Left
out: its random and decaying schedules.
"""

from typing import Annotated

import torch
from pydantic import Field

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


@part(writes=("window",), paper="arXiv 2507.21802")
class Window:
    """Writes `window`, int64 [n, 2], for fresh rows: the first step that draws noise and the end."""

    size: Annotated[int, Field(ge=1)] = 4
    """Number of steps in the window."""
    first: Annotated[int, Field(ge=0)] = 0
    """Step at which the window begins at the start of training."""
    last: Annotated[int, Field(ge=0)] = 15
    """Latest step at which the window begins; then it returns to `first`. 15 suits 20 steps."""
    every: Annotated[int, Field(ge=0)] = 25
    """Batches between two moves of the window; 0: it never moves."""
    stride: Annotated[int, Field(ge=1)] = 1
    """Steps by which the window moves."""

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"last must be at least first ({self.first}), got {self.last}")

    @property
    def steps_needed(self) -> int:
        """The calls of the network a policy must make for the furthest window."""
        return self.begin(self.every * (self._places - 1)) + self.size + 1

    @property
    def _places(self) -> int:
        return (self.last - self.first) // self.stride + 1

    def begin(self, step: int) -> int:
        """Step at which the window begins in batch number `step`."""
        return self.first + self.stride * ((step // self.every if self.every else 0) % self._places)

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with their window; the batch's number is `facts["step"]`."""
        begin = self.begin(int(rollouts.facts["step"]))
        return rollouts.put(window=torch.tensor([[begin, begin + self.size]] * len(rollouts)).view(-1, 2))
