"""Leave out rollouts that the length limit cut off ("overlong filtering", DAPO, arXiv 2503.14476, section
3.4).

Truncation is three separate choices. This is the loss mask. Whether truncated rewards count in the baseline
is `group_relative`'s `truncated_in_baseline`; a penalty on them is a judge. Truncation is told by the
sampler's finish reason, never guessed from the last token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


def complete(status: Sequence[str]) -> Tensor:
    """bool [n], whether each rollout ended by itself: its finish reason is not "length".

    >>> complete(["stop", "length"]).tolist()
    [True, False]
    """
    return torch.tensor([reason != "length" for reason in status], dtype=torch.bool)


@part(reads=("status", "actions.share"), writes=("actions.share",), paper="arXiv 2503.14476")
class Truncated:
    """Share 0 for rollouts with status "length"."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with lowered shares; an action stays while one rollout through it does."""
        ended = complete(rollouts.status).double()
        return rollouts.put_actions(share=rollouts.actions.share * (rollouts.spread(ended) > 0))
