"""How near an image is to the one it was made from: the peak signal-to-noise ratio, in dB."""

from typing import Annotated, Any

import torch
from pydantic import Field

from oneloop.core.part import part
from oneloop.core.pictures import picture
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, Verdict, columns


@part(reads=("output", "example"), writes=lambda self: (f"reward.{self.name}", f"error.{self.name}"))
class Psnr:
    """-10 log10 of the mean squared error between `output` and the row's `image`, at most `most` dB."""

    most: Annotated[float, Field(gt=0)] = 60.0
    """Most dB that are given; equal images have infinitely many."""
    name: Annotated[str, Field(min_length=1)] = "psnr"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises JudgeError for a row without an image."""
        pairs = zip(rollouts.output, rollouts.example, rollouts.key.tolist(), strict=True)
        verdicts = [Verdict(self._score(image, row, key)) for image, row, key in pairs]
        return rollouts.put(columns(self.name, verdicts))

    def _score(self, image: torch.Tensor, row: dict[str, Any], key: int) -> float:
        if row.get("image") is None:
            raise JudgeError(f"judge '{self.name}' needs the column 'image' of data row {key}")
        original = torch.as_tensor(picture(row["image"], f"data row {key}", tuple(image.shape)))  # type: ignore[arg-type]
        error = float((image.double() - original.double()).square().mean())
        return min(self.most, float(-10 * torch.tensor(error, dtype=torch.float64).log10()))
