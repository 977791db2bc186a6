"""How much each token of an image contributes: what changes when another code stands in its place."""

import torch
from torch import Tensor

from oneloop.core import draws
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer


@torch.no_grad()
def contribution_maps(
    tokenizer: OneDTokenizer, images: Tensor, length: int | None = None, seed: int = 0
) -> Tensor:
    """[N, H, W], the mean |difference| of a pixel when a random code replaces token i of every image.

    Summed over channels, averaged over `images` [b, C, H, W]. `length`: only so many tokens are decoded, so
    that later ones contribute exactly nothing. Draws depend on `seed`, image and token alone.
    """
    config = tokenizer.config
    indices = tokenizer.encode(images.to(tokenizer.device))
    usual = tokenizer.decode(indices, length)
    keys = draws.mix(seed, "contribution", torch.arange(len(images)).numpy())
    maps = []
    for place in range(config.tokens):
        drawn = torch.from_numpy(draws.uniforms(keys, place)) * config.codebook_size
        other = indices.clone()
        other[:, place] = drawn.long().to(indices)
        maps.append((tokenizer.decode(other, length) - usual).abs().sum(1).mean(0))
    return torch.stack(maps)


def token_contribution(
    tokenizer: OneDTokenizer, images: Tensor, length: int | None = None, seed: int = 0
) -> Tensor:
    """[N], the mean |difference| of a pixel and channel when a random code replaces token i."""
    maps = contribution_maps(tokenizer, images, length, seed)
    return maps.flatten(1).mean(1) / tokenizer.config.channels
