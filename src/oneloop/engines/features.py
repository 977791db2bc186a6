"""What a prompt shows a model besides tokens (pictures), and where its tokens stand.

    A axes of positions   P tokens of the prompt

The prompt's token ids hold a placeholder for every feature the model makes of `inputs`. Models with one axis
count positions 0, 1, 2 ...; those with more (M-RoPE: time, height, width) give a picture's placeholders the
places of its patches, and text goes on after the largest.
Not here: opening pictures, and what a processor makes of them (sample/policies/pictures).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """The pictures of one prompt; two are equal when their names are."""

    name: str
    """Fingerprint of what is shown, and of how it was read."""
    inputs: Mapping[str, Tensor] = field(compare=False, repr=False)
    """Keyword arguments of the model, such as pixel_values."""
    positions: Tensor | None = field(default=None, compare=False, repr=False)
    """int64 [A, P]; None: 0 .. P-1."""
    nested: bool = field(default=False, compare=False)
    """Whether inputs are [1, pictures, ...]; else they are [pictures or patches, ...]."""

    @property
    def shift(self) -> int:
        """What is added to the place of a later token in the sequence for its position."""
        if self.positions is None:
            return 0
        return int(self.positions.max()) + 1 - self.positions.shape[1]


def together(shown: Sequence[Features], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Keyword arguments of a model that forwards prompts with the features `shown`, in their order.

    Pictures of different sizes are padded with zeros on the right and below, as processors do.
    """
    if not shown:
        return {}
    along = 1 if shown[0].nested else 0
    return {
        name: _joined([features.inputs[name] for features in shown], along).to(
            device, dtype if shown[0].inputs[name].is_floating_point() else None
        )
        for name in shown[0].inputs
    }


def _joined(pieces: list[Tensor], along: int) -> Tensor:
    if len(pieces) == 1:
        return pieces[0]
    sizes = [max(piece.shape[axis] for piece in pieces) for axis in range(along + 1, pieces[0].ndim)]
    padded = []
    for piece in pieces:
        missing = [size - has for size, has in zip(sizes, piece.shape[along + 1 :], strict=True)]
        padded.append(F.pad(piece, [part for each in reversed(missing) for part in (0, each)]))
    return torch.cat(padded, along)


def turned(places: Tensor, shown: Sequence[Features | None]) -> Tensor | None:
    """int64 [A, R, T]: positions of tokens that stand at `places` [R, T] of sequences that begin with prompts
    of the features `shown`; None where places are the positions.
    """
    axes = next((each.positions.shape[0] for each in shown if each and each.positions is not None), None)
    if axes is None:
        return None
    positions = places.expand(axes, *places.shape).clone()
    for row, features in enumerate(shown):
        if features is None or features.positions is None:
            continue
        prompt = features.positions.shape[1]
        inside = places[row] < prompt
        own = features.positions[:, places[row].clamp(max=prompt - 1)]
        positions[:, row] = torch.where(inside, own, places[row] + features.shift)
    return positions
