"""Small supernets of every elastic layer, and the plain networks that they are at their largest."""

import torch
from torch import Tensor, nn

from oneloop.models.seeded import seeded
from oneloop.models.supernet import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticDepth,
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticResidual,
    ElasticRMSNorm,
    ElasticSelfAttention,
    Kept,
)

WIDTH = Kept("width")


def transformer() -> nn.Sequential:
    """Ids [B, L] of 11 to scores [B, L, 3]; width up to 16, 4 heads of 4, hidden up to 12, up to 3 blocks."""

    def block() -> nn.Module:
        attention = nn.Sequential(
            ElasticLayerNorm(16, WIDTH), ElasticSelfAttention(16, 4, "heads", WIDTH, causal=True)
        )
        mlp = nn.Sequential(
            ElasticRMSNorm(16, WIDTH, eps=1e-5),
            ElasticLinear(16, 12, inputs=WIDTH, outputs=Kept("hidden", each=2)),
            nn.GELU(),
            ElasticLinear(12, 16, inputs=Kept("hidden", each=2), outputs=WIDTH),
        )
        return nn.Sequential(ElasticResidual(attention, "heads", 4), ElasticResidual(mlp, "hidden", 6))

    with seeded(0):
        blocks: list[nn.Module] = [block() for _ in range(3)]
        model = nn.Sequential(
            ElasticEmbedding(11, 16, WIDTH), ElasticDepth(blocks, "depth"), ElasticLinear(16, 3, inputs=WIDTH)
        )
        for weight in model.parameters():  # biases and norms too are drawn, or slices of them look alike
            nn.init.normal_(weight, std=0.5)
    return model


def convolutions() -> nn.Sequential:
    """Images [B, 1, 8, 8] to scores [B, 3]; up to 6 channels, kernels of up to 5, in two layers."""
    channels = Kept("channels")
    with seeded(1):
        model = nn.Sequential(
            ElasticConv2d(1, 6, 5, outputs=channels, kernel="kernel"),
            ElasticBatchNorm2d(6, channels),
            nn.ReLU(),
            ElasticConv2d(6, 6, 3, 2, inputs=channels, outputs=channels, depthwise=True),
            ElasticConv2d(6, 4, 1, bias=False, inputs=channels, outputs=Kept("last")),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            ElasticLinear(4, 3, inputs=Kept("last")),
        )
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.5)
        norm = model[1]
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model.eval()


def ids() -> Tensor:
    """[2, 5] ids."""
    return torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(2))


def images() -> Tensor:
    """[2, 1, 8, 8] images."""
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
