"""What training an image tokenizer needs of memory, and which data rows it can learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from oneloop.core.memory import ACTIVATIONS, MemoryRow, Needs
from oneloop.core.pictures import picture
from oneloop.core.protocols import Demand

LESS = "Lower learner.tokens_per_micro_batch, plan.groups, or the sizes of policy.image_tokenizer.model"


def empty_tokenizer(model: Any) -> Any:
    """The tokenizer of an `image_tokenizer` part as it will be trained, without memory for its weights.

    Raises ValueError where the part's folder holds none.
    """
    if getattr(model, "folder", "") or getattr(model, "teacher", ""):
        return model.build()  # only its files say how large it is
    with torch.device("meta"):
        return model.build()


def forwarded(config: Any) -> int:
    """Positions that an image has in encoder and decoder together, all of its tokens kept."""
    return int(2 * (1 + config.grid**2 + config.tokens))


def row_image(row: Mapping[str, Any], where: str, wanted: tuple[int, int, int]) -> Tensor:
    """float32 [C, H, W] in [0, 1], the `image` of a data row. Raises ValueError, naming `where`, without."""
    image = row.get("image")
    if image is None:
        raise ValueError(f"{where} has no 'image' to turn into tokens; its columns: {', '.join(row)}")
    return torch.as_tensor(picture(image, where, wanted))


@dataclass(frozen=True)
class TokenizerOutline:
    """`oneloop.core.protocols.PolicyOutline` of an image tokenizer."""

    tokenizer: Any
    """The tokenizer on the meta device."""
    device: str

    def notes(self, demands: Sequence[Demand]) -> list[str]:
        """No notes: the empty list."""
        return []

    def check_row(self, row: Mapping[str, Any], where: str, demonstrated: bool) -> None:
        """Raises ValueError, naming `where`, for a row without a picture that can be read."""
        row_image(row, where, self.tokenizer.config.picture)

    def memory(self, demands: Sequence[Demand]) -> Needs:
        """Weights, their gradients and moments, images, and about what a micro-batch leaves behind."""
        config, device = self.tokenizer.config, torch.device(self.device)
        parameters = sum(weight.numel() for weight in self.tokenizer.parameters())
        weights = 4 * parameters
        learned = [demand for demand in demands if demand.micro_batch is not None]
        images = max((demand.rollouts for demand in learned), default=0)
        micro = max(
            (demand.micro_batch(device, parameters) for demand in learned if demand.micro_batch), default=0
        )
        tokens = min(micro, images * forwarded(config))
        states = tokens * ACTIVATIONS * config.layers * config.hidden_size
        return Needs(
            (
                MemoryRow("weights", weights, f"{parameters:,} parameters"),
                MemoryRow("gradients", weights, "all are trained"),
                MemoryRow("optimiser", 2 * weights, "two moments in fp32"),
                MemoryRow("images", 2 * 4 * images * prod(config.picture), f"{images:,} images, twice, fp32"),
                MemoryRow("activations", 4 * states, f"about, {tokens:,} tokens a micro-batch"),
            ),
            self.device,
            LESS,
        )
