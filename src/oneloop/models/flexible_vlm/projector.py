"""The token-adaptive projector of TokenFLEX (arXiv 2504.03154): one set of weights for any n x n tokens.

    X [B, H*H, C]   Y [B, n*n, C]   Z [B, n*n, D]

    resample: r = ceil(H / n) n; bilinear to [r, r] where r != H; average pool with kernel r / n
    Z = Wg( SiLU(W1 LN(Y) + b1) * (W2 LN(Y) + b2) ) + bg        W1, W2: C -> 3 C   Wg: 3 C -> D

Pooling comes before the nonlinearity, so that cost follows the number of tokens. `adaptive` is torch's
adaptive average pooling, which equals `resample` only where n divides H: use a model as it was trained.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooling = Literal["resample", "adaptive"]


class TokenAdaptiveProjector(nn.Module):
    """Maps features of a picture to `num_tokens` embeddings of a language model."""

    def __init__(
        self,
        vision_dim: int,
        text_dim: int,
        num_tokens: int = 256,
        mlp_ratio: int = 3,
        pooling: Pooling = "resample",
        bias: bool = True,
    ):
        super().__init__()
        side_of(num_tokens)
        if pooling not in ("resample", "adaptive"):
            raise ValueError(f"pooling: got {pooling!r}, must be 'resample' or 'adaptive'")
        self.num_tokens, self.pooling = num_tokens, pooling
        hidden = mlp_ratio * vision_dim
        self.norm = nn.LayerNorm(vision_dim, eps=1e-5)
        self.gate = nn.Linear(vision_dim, hidden, bias=bias)
        self.up = nn.Linear(vision_dim, hidden, bias=bias)
        self.down = nn.Linear(hidden, text_dim, bias=bias)

    def forward(
        self, features: Tensor, num_tokens: int | None = None, grid: tuple[int, int] | None = None
    ) -> Tensor:
        """[B, N, D] of `features` [B, L, C], whose L patches are a `grid` (rows, columns); None: a square.

        Raises ValueError for an N that is no square, and for an L that is none where no grid is given.
        """
        pooled = pool(features, num_tokens or self.num_tokens, self.pooling, grid)
        # LayerNorm in fp32, because squares of half-precision features overflow
        normed = F.layer_norm(
            pooled.float(), self.norm.normalized_shape, self.norm.weight.float(), self.norm.bias.float(), 1e-5
        ).to(pooled.dtype)
        mapped: Tensor = self.down(F.silu(self.gate(normed)) * self.up(normed))
        return mapped


def pool(
    features: Tensor, num_tokens: int, pooling: Pooling = "resample", grid: tuple[int, int] | None = None
) -> Tensor:
    """[B, n*n, C], row by row, of `features` [B, L, C]."""
    side = side_of(num_tokens)
    rows, columns = grid or _square(features.shape[1])
    if rows * columns != features.shape[1]:
        raise ValueError(f"grid: {rows} x {columns} is not the {features.shape[1]} features there are")
    picture = features.transpose(1, 2).unflatten(2, (rows, columns))
    if pooling == "adaptive":
        pooled = F.adaptive_avg_pool2d(picture, side)
    else:
        wanted = [math.ceil(length / side) * side for length in (rows, columns)]
        if wanted != [rows, columns]:
            picture = F.interpolate(picture, wanted, mode="bilinear", align_corners=True)
        pooled = F.avg_pool2d(picture, [length // side for length in wanted])
    return pooled.flatten(2).transpose(1, 2)


def side_of(num_tokens: int) -> int:
    """n of n x n tokens. Raises ValueError, with the nearest squares, where `num_tokens` is no square."""
    if isinstance(num_tokens, bool) or not isinstance(num_tokens, int) or num_tokens < 1:
        raise ValueError(f"num_image_tokens: got {num_tokens!r}, must be a positive square such as 64 or 256")
    side = math.isqrt(num_tokens)
    if side * side != num_tokens:
        raise ValueError(
            f"num_image_tokens: got {num_tokens}, must be a square; nearest: {side**2} and {(side + 1) ** 2}"
        )
    return side


def _square(length: int) -> tuple[int, int]:
    side = math.isqrt(length)
    if side * side != length:
        hint = (
            f"; {length - 1} would be, is there a class token?"
            if math.isqrt(length - 1) ** 2 == length - 1
            else ""
        )
        raise ValueError(f"the {length} features of a picture are no square: give their grid{hint}")
    return side, side


def parameters_of(vision_dim: int, text_dim: int, mlp_ratio: int = 3) -> int:
    """Number of weights, which does not depend on the number of tokens."""
    with torch.device("meta"):
        made = TokenAdaptiveProjector(vision_dim, text_dim, mlp_ratio=mlp_ratio)
    return sum(weight.numel() for weight in made.parameters())
