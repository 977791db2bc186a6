"""Reconstruction: the supervised loss of image tokenizers, on images that somebody else made.

    loss = mean (x - decode(first K codes))^2 + quantizer_weight (codebook loss + 0.25 commitment loss)

K is the rollout's budget, drawn by a dress part such as `draw_budget`. The quantiser's loss counts all codes,
those that were dropped included, as in One-D-Piece (arXiv 2501.10064). This is the single-stage loss, without
a perceptual or an adversarial term, for which networks would have to be fetched.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.protocols import Here
from oneloop.core.rollouts import Rollouts


@part(
    reads=("actions.latent",),
    writes=("actions.nll", "actions.quantizer_loss", "actions.perplexity", "actions.code_use"),
    units=("nats_per_dim", "discrete"),
    paper="arXiv 2501.10064",
)
class Reconstruction:
    """Squared error of the decoded image, and the quantiser's loss; for `sample: demonstrations`."""

    quantizer_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the quantiser's loss; not used where only the decoder is trained."""
    train: Literal["all", "decoder"] = "all"
    """What learns: all, or the decoder alone, with encoder and codes as they are (a second stage)."""

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a]; readings: `nll`, the squared error, and how the codebook is used)."""
        alone = self.train == "decoder"
        error: Tensor = here.decoder_error if alone else here.error  # type: ignore[attr-defined]
        rounding: Tensor = here.quantized.loss.detach() if alone else here.quantizer_loss  # type: ignore[attr-defined]
        in_use: Tensor = here.perplexity  # type: ignore[attr-defined]
        codes = len(here.usage)  # type: ignore[attr-defined]
        readings = {
            "nll": error.detach(),
            "quantizer_loss": rounding.detach(),
            "perplexity": torch.full_like(error, float(in_use)).detach(),
            "code_use": torch.full_like(error, float(in_use) / codes).detach(),
        }
        return error if alone else error + self.quantizer_weight * rounding, readings
