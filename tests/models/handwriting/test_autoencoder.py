"""Gray pictures through an autoencoder of colours."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from oneloop.models.handwriting.autoencoder import GrayAutoencoder, open_autoencoder


class Colours(nn.Module):
    """Latents are three times the colours, with a channel of nothing; colours differ by 0.3."""

    config = SimpleNamespace(scaling_factor=0.5)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def encode(self, pictures):
        mean = torch.cat([self.weight * pictures, torch.zeros_like(pictures[:, :1])], 1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean))

    def decode(self, latent, return_dict):
        assert return_dict is False
        return (latent[:, :3] / self.weight + torch.tensor([-0.3, 0.0, 0.3]).view(3, 1, 1),)


def test_gray_is_three_equal_colours_and_their_mean():
    gray = GrayAutoencoder(Colours().train())
    picture = torch.rand(2, 1, 4, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = gray.encode(picture)
    assert latent.shape == (2, 4, 4, 8) and not latent.requires_grad
    for colour in range(3):
        torch.testing.assert_close(latent[:, colour : colour + 1], 1.5 * picture)  # 3 x, scaled by 0.5
    torch.testing.assert_close(gray.decode(latent), picture, atol=1e-6, rtol=0)
    assert not gray.inner.training and not gray.inner.weight.requires_grad


def test_decoding_is_differentiable_in_the_latent_alone():
    gray = GrayAutoencoder(Colours())
    latent = torch.zeros(1, 4, 1, 1, requires_grad=True)
    gray.decode(latent).sum().backward()
    assert latent.grad.flatten().tolist() == pytest.approx([2 / 9, 2 / 9, 2 / 9, 0])  # 1 / (0.5 * 3 * 3)
    assert gray.inner.weight.grad is None


@pytest.mark.parametrize(
    ("levels", "channels", "said"), [(2, 4, "4 channels and 2"), (4, 3, "3 channels and 8")]
)
def test_an_autoencoder_of_other_latents_is_refused(tmp_path, levels, channels, said):
    diffusers = pytest.importorskip("diffusers")
    diffusers.AutoencoderKL(
        block_out_channels=(4,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=channels,
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"has {said} pixels a place; a handwriting model takes 4 and 8"):
        open_autoencoder(str(tmp_path))
