"""The encoder: patches and learned latent tokens through one transformer; the latent tokens come out as
vectors.

    b images   P patches   N tokens   D width   d numbers of a code
"""

import torch
from torch import Tensor, nn

from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.transformer import Block, embedding


def legacy_tokens(outputs: Tensor) -> Tensor:
    """[b, N, D] -> [b, N, D] as the released code cuts them: [b, N, D] read as [b, D, N] without a permute.

    Token l is then made of places l, l + N, l + 2N, ... of all outputs laid end to end, not of output l.

    >>> rows = torch.tensor([[[n, 10 * n] for n in range(10)]])
    >>> legacy_tokens(rows)[0, 0].tolist(), rows[0, 0].tolist()
    ([0, 5], [0, 0])
    """
    b, n, width = outputs.shape
    return outputs.reshape(b, width, n).transpose(1, 2)


class Encoder(nn.Module):
    """Images [b, C, H, W] in [0, 1] to vectors [b, N, d] that the quantiser rounds to codes."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        width, patches = config.hidden_size, config.grid**2
        self.legacy = config.legacy_reshape
        self.patch_embed = nn.Conv2d(config.channels, width, config.patch, config.patch)
        self.class_embedding = embedding(1, width)
        self.positional_embedding = embedding(patches + 1, width)
        self.latent_token_positional_embedding = embedding(config.tokens, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.ln_post = nn.LayerNorm(width)
        self.conv_out = nn.Conv2d(width, config.code_dims, 1)

    def forward(self, images: Tensor, latent_tokens: Tensor) -> Tensor:
        """[b, N, d]; `latent_tokens` [N, D] are the learned queries."""
        b = len(images)
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        seen = torch.cat([self.class_embedding.expand(b, -1, -1), patches], 1) + self.positional_embedding
        latents = (latent_tokens + self.latent_token_positional_embedding).expand(b, -1, -1)
        x = self.ln_pre(torch.cat([seen, latents], 1))
        for block in self.transformer:
            x = block(x)
        outputs = self.ln_post(x[:, seen.shape[1] :])
        if self.legacy:
            outputs = legacy_tokens(outputs)
        vectors: Tensor = self.conv_out(outputs.transpose(1, 2)[..., None])
        return vectors[..., 0].transpose(1, 2)
