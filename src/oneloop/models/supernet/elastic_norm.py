"""Norms whose number of features is chosen.

LayerNorm and RMSNorm look at all features of a place, so that zeros in channels that are left out would
change their statistics: slices hold the kept features alone, and the mask form computes its statistics with
the mask as weights. BatchNorm looks at each channel alone, but its running statistics are those of whatever
architectures were trained last: see `oneloop.models.supernet.recalibration`.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oneloop.models.supernet.cutting import Cutter
from oneloop.models.supernet.elastic import Architecture, Elastic, Kept


class ElasticFeatures(Elastic):
    """What norms over all features share; stands before the norm of `nn` among the bases of a class."""

    normalized_shape: tuple[int, ...]

    def __init__(self, features: int, kept: Kept | None = None, **options: Any):
        """`kept`: the choice that the features follow; `options` are those of the norm of `nn`."""
        super().__init__(features, **options)  # type: ignore[call-arg]
        self.kept = kept

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """The features, where they are elastic."""
        if self.kept is not None:
            yield self.kept, self.normalized_shape[0]


class ElasticLayerNorm(ElasticFeatures, nn.LayerNorm):
    """LayerNorm over the features kept."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., features kept], normalised."""
        mask = self.mask_of(self.kept)
        if mask is None:
            weight, bias = _first(self.weight, input.shape[-1]), _first(self.bias, input.shape[-1])
            return F.layer_norm(input, input.shape[-1:], weight, bias, self.eps)
        mean = (input * mask).sum(-1, keepdim=True) / mask.sum()
        centred = input - mean
        variance = (centred.square() * mask).sum(-1, keepdim=True) / mask.sum()
        return _affine(centred * (variance + self.eps).rsqrt(), self.weight, self.bias) * mask

    def cut(self, cutter: Cutter) -> nn.LayerNorm:
        """An `nn.LayerNorm` of the features kept."""
        size = self.size(self.kept, self.normalized_shape[0])
        with torch.device("meta"):
            made = nn.LayerNorm(size, self.eps, self.weight is not None, self.bias is not None)
        _give(made, self, size, cutter)
        return made


class ElasticRMSNorm(ElasticFeatures, nn.RMSNorm):
    """RMSNorm over the features kept."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., features kept], divided by their root mean square."""
        mask = self.mask_of(self.kept)
        if mask is None:
            return F.rms_norm(x, x.shape[-1:], _first(self.weight, x.shape[-1]), self.eps)
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        mean_square = (x.square() * mask).sum(-1, keepdim=True) / mask.sum()
        return _affine(x * (mean_square + eps).rsqrt(), self.weight, None) * mask

    def cut(self, cutter: Cutter) -> nn.RMSNorm:
        """An `nn.RMSNorm` of the features kept."""
        size = self.size(self.kept, self.normalized_shape[0])
        with torch.device("meta"):
            made = nn.RMSNorm(size, self.eps, self.weight is not None)
        _give(made, self, size, cutter)
        return made


class ElasticBatchNorm2d(nn.BatchNorm2d, Elastic):
    """BatchNorm of the channels kept."""

    def __init__(self, channels: int, kept: Kept | None = None, **options: Any):
        """`kept`: the choice that the channels follow; `options` are those of nn.BatchNorm2d."""
        super().__init__(channels, **options)
        self.kept = kept
        self.calibrated_for: Architecture | None = None

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """The channels, where they are elastic."""
        if self.kept is not None:
            yield self.kept, self.num_features

    def forward(self, input: Tensor) -> Tensor:
        """[B, channels kept, H, W], normalised; updates the running statistics of these when training."""
        size, mask = input.shape[1], self.mask_of(self.kept)
        by_batch = self.training or self.running_mean is None
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            self.calibrated_for = None
            if self.momentum is None:  # a plain mean over batches
                factor = 1.0 / float(self.num_batches_tracked)
        normed = F.batch_norm(
            input,
            _first(self.running_mean, size),
            _first(self.running_var, size),
            _first(self.weight, size),
            _first(self.bias, size),
            by_batch,
            factor,
            self.eps,
        )
        return normed if mask is None else normed * mask[:, None, None]

    def cut(self, cutter: Cutter) -> nn.BatchNorm2d:
        """An `nn.BatchNorm2d` of the channels kept, with their running statistics."""
        size, tracks = self.size(self.kept, self.num_features), self.running_mean is not None
        with torch.device("meta"):
            made = nn.BatchNorm2d(size, self.eps, self.momentum, self.weight is not None, tracks)
        _give(made, self, size, cutter)
        if self.running_mean is not None and self.running_var is not None:
            made.running_mean = cutter.weight(self.running_mean, self.running_mean[:size])
            made.running_var = cutter.weight(self.running_var, self.running_var[:size])
            made.num_batches_tracked = cutter.weight(self.num_batches_tracked)  # type: ignore[arg-type]
        return made


def _first(weight: Tensor | None, size: int) -> Tensor | None:
    return None if weight is None else weight[:size]


def _affine(normed: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = normed if weight is None else normed * weight
    return scaled if bias is None else scaled + bias


def _give(made: nn.Module, norm: nn.Module, size: int, cutter: Cutter) -> None:
    """`made` gets the first `size` of the weights of `norm`."""
    for name, weight in norm.named_parameters(recurse=False):
        setattr(made, name, cutter.weight(weight, weight[:size]))
