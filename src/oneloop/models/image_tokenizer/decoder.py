"""The decoder: mask tokens of an image's patches and any prefix of its codes through one transformer.

    b images   P patches   K codes that are there   D width   d numbers of a code

What is left out is absent: no padding token stands for it. In a batch of several lengths the places beyond
each image's length are hidden from attention, which gives what each image would give alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.transformer import Block, embedding


class Decoder(nn.Module):
    """Codes [b, K, d] to patches [b, C', grid, grid]: pixels of a patch, or logits of a teacher's codes."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config, width, patches = config, config.hidden_size, config.grid**2
        self.decoder_embed = nn.Linear(config.code_dims, width)
        self.class_embedding = embedding(1, width)
        self.positional_embedding = embedding(patches + 1, width)
        self.mask_token = nn.Parameter(embedding(1, width).detach()[None])
        self.latent_token_positional_embedding = embedding(config.tokens, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.ln_post = nn.LayerNorm(width)
        pixels = config.channels * config.patch**2
        out = pixels if config.predicts == "pixels" else config.proxy_codes
        self.ffn = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, out, 1))
        if config.predicts == "pixels":
            self.background = nn.Parameter(torch.full(config.picture, 0.5))

    def forward(self, codes: Tensor, there: Tensor | None = None) -> Tensor:
        """Images [b, C, H, W], not cut to [0, 1], or logits [b, proxy_codes, grid, grid].

        `there` bool [b, K], the codes that each image has; None: all.
        """
        b, k, _ = codes.shape
        patches = self.config.grid**2
        masks = self.queries(codes, there)
        latents = self.decoder_embed(codes) + self.latent_token_positional_embedding[:k]
        if there is not None:
            there = torch.cat([there.new_ones(b, patches + 1), there], 1)
        x = self.ln_pre(torch.cat([masks, latents], 1))
        for block in self.transformer:
            x = block(x, there)
        x = self.ln_post(x[:, 1 : patches + 1]).transpose(1, 2)
        out: Tensor = self.ffn(x.reshape(b, -1, self.config.grid, self.config.grid))
        if self.config.predicts == "codes":
            return out
        return F.pixel_shuffle(out, self.config.patch) + self.background

    def queries(self, codes: Tensor, there: Tensor | None) -> Tensor:
        """[b, 1 + P, D], what stands for the whole image and for each patch of it before any code is read;
        `codes` and `there` as in `forward`."""
        patches = self.config.grid**2
        masks = torch.cat([self.class_embedding[None], self.mask_token.expand(1, patches, -1)], 1)
        return (masks + self.positional_embedding).expand(len(codes), -1, -1)
