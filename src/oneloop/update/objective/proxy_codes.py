"""Proxy codes: the first stage of an image tokenizer that has a teacher (TiTok, arXiv 2406.07550).

    loss = mean over patches of -log p(the teacher's code | first K codes) + quantizer_weight quantiser's loss

The decoder learns to predict the codes that a frozen teacher gives each patch; no pixel is compared. The
second stage is `reconstruction: {train: decoder}`, through the teacher's decoder.
"""

from functools import cached_property
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts
from oneloop.models.image_tokenizer.teacher import Teacher, open_teacher


@part(
    reads=("actions.latent",),
    writes=("actions.nll", "actions.quantizer_loss"),
    units=("nats_per_dim", "discrete"),
    paper="arXiv 2406.07550",
)
class ProxyCodes:
    """Cross-entropy of a teacher's codes, and the quantiser's loss; for `sample: demonstrations`."""

    teacher: Annotated[str, Field(min_length=1)]
    """Folder of the teacher, the same as `one_d_piece.teacher`."""
    quantizer_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the quantiser's loss."""

    @cached_property
    def loaded(self) -> Teacher:
        """The teacher. Raises ValueError where it cannot be loaded."""
        return open_teacher(self.teacher)[0]

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a]; readings: `nll`, the cross-entropy in nats a patch, and the quantiser's loss)."""
        logits: Tensor = here.proxy_logits  # type: ignore[attr-defined]
        rounding: Tensor = here.quantizer_loss  # type: ignore[attr-defined]
        wanted = self.loaded.to(logits.device).encode(rollouts.actions.latent[actions].to(logits.device))
        nll = F.cross_entropy(logits, wanted, reduction="none").flatten(1).mean(1)
        return nll + self.quantizer_weight * rounding, {
            "nll": nll.detach(),
            "quantizer_loss": rounding.detach(),
        }
