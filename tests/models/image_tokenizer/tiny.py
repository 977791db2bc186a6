"""A tokenizer of 8x8 digits in seven tokens, with weights large enough that every token matters."""

import torch

from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer

SIZES = {
    "image_size": 8,
    "patch": 4,
    "tokens": 7,
    "hidden_size": 16,
    "layers": 2,
    "heads": 2,
    "codebook_size": 32,
    "code_dims": 4,
}


def tiny(seed: int = 0, **options) -> OneDTokenizer:
    torch.manual_seed(seed)
    tokenizer = OneDTokenizer(TokenizerConfig(**{**SIZES, **options})).eval()
    with torch.no_grad():
        for name, weight in tokenizer.named_parameters():
            if weight.ndim > 1 and "embedding" not in name and "background" not in name:
                weight.mul_(8)
    return tokenizer


def pictures(count: int, seed: int = 0, channels: int = 1, size: int = 8) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))
