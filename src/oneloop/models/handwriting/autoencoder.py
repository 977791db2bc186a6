"""The frozen autoencoder of a latent handwriting model: gray pictures to latents and back (AutoencoderKL)."""

from typing import Any

import torch
from torch import Tensor, nn

from oneloop.core import hub
from oneloop.core.extras import MissingExtra


class GrayAutoencoder(nn.Module):
    """An AutoencoderKL of diffusers, which takes colours, on pictures [b, 1, H, W] in [-1, 1]."""

    def __init__(self, autoencoder: Any):
        super().__init__()
        self.inner = autoencoder.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Latents [b, 4, H / 8, W / 8]: the means of the posterior, scaled. (The paper draws one.)"""
        mean = self.inner.encode(pictures.expand(-1, 3, -1, -1)).latent_dist.mean
        scaled: Tensor = mean * self.inner.config.scaling_factor
        return scaled

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures [b, 1, H, W], the mean of the three colours; differentiable."""
        image: Tensor = self.inner.decode(latent / self.inner.config.scaling_factor, return_dict=False)[0]
        return image.mean(1, keepdim=True)


def open_autoencoder(name: str) -> GrayAutoencoder:
    """The AutoencoderKL at `name` (hub or folder), frozen.

    Raises ValueError when it cannot be loaded or is none of 4 channels and 8 pixels a place, and MissingExtra
    without diffusers.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise MissingExtra("models.one_dm.autoencoder", "diffusers", "images") from error
    try:
        # low_cpu_mem_usage would need accelerate
        with hub.asked(name):
            loaded = AutoencoderKL.from_pretrained(name, low_cpu_mem_usage=False)
    except Exception as error:  # whatever a download or a damaged folder raises
        said = hub.why(name, error)
        raise ValueError(f"models.one_dm.autoencoder: cannot load '{name}': {said}") from error
    shrink = 2 ** (len(loaded.config.block_out_channels) - 1)
    if loaded.config.latent_channels != 4 or shrink != 8:
        raise ValueError(
            f"models.one_dm.autoencoder: '{name}' has {loaded.config.latent_channels} channels and {shrink} "
            "pixels a place; a handwriting model takes 4 and 8"
        )
    return GrayAutoencoder(loaded)
