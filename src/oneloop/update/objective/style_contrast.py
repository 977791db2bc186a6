"""Style contrast: two references of one writer look alike to a handwriting model, those of others do not.

    loss of a demonstration = weight (sup_con(spatial) + sup_con(high))      of its two references

One-DM (arXiv 2409.04004); its code takes both branches with weight 1. Contrast is among the demonstrations
that are forwarded together, as it is there among those of one GPU: `learner.tokens_per_micro_batch` must
hold a whole batch, or the loss is another one, with fewer other writers.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts
from oneloop.models.handwriting.sup_con import sup_con


@part(
    reads=("actions.latent",),
    writes=("actions.contrast",),
    units=("nats_per_dim",),
    paper="arXiv 2409.04004",
)
class StyleContrast:
    """Supervised contrastive loss of both branches of style; for `sample: demonstrations` of one_dm."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the loss."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """Divisor of the embeddings' cosines."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], reading `contrast`, the same without the weight)."""
        branches, writers = here.views  # type: ignore[attr-defined]
        each = [sup_con(pair, writers, self.temperature) for pair in branches.values()]
        loss = torch.stack(each).sum(0)
        return self.weight * loss, {"contrast": loss.detach()}
