"""Every group gets the same number of rollouts, all at once (GRPO and most of its family)."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.rollouts import Table


@part()
class Uniform:
    """n rollouts a group, in one round."""

    n: Annotated[int, Field(ge=1)] = 8
    """Rollouts per group (`num_generations` elsewhere)."""

    @property
    def rounds(self) -> int:
        """Number of times a group gets rollouts before it is complete."""
        return 1

    def more(self, groups: Table) -> Tensor:
        """int64 [G], how many more rollouts each idle group gets; columns as in `Plan`."""
        return torch.where(groups["round"] == 0, self.n, 0)
