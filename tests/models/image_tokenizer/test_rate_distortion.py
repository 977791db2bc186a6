import numpy as np
import pytest
import torch

from oneloop.models.image_tokenizer.codecs import QUALITIES, available, codec_points, encoded
from oneloop.models.image_tokenizer.packing import packed_size
from oneloop.models.image_tokenizer.quality import psnr
from oneloop.models.image_tokenizer.rate_distortion import rate_distortion
from oneloop.models.image_tokenizer.token_file import HEADER
from tests.models.image_tokenizer.tiny import pictures, tiny


def smooth(count, channels=3, size=16):
    """Images whose values rise from corner to corner, each at a slope of its own."""
    grid = torch.linspace(0, 1, size)
    slopes = torch.linspace(0.3, 0.9, count)[:, None, None, None]
    return (slopes * (grid[:, None] + grid[None]) / 2).expand(count, channels, size, size)


def test_container_and_payload_are_apart():
    images = smooth(3)
    found = codec_points(images, ("jpeg",))
    levels = (images[0] * 255).round().byte().permute(1, 2, 0).numpy()
    blank = len(encoded(np.full((16, 16, 3), 128, np.uint8), "jpeg", QUALITIES["jpeg"][0]))
    assert [point.setting for point in found[:2]] == ["quality 1", "quality 5"]
    assert found[0].file_bytes >= len(encoded(levels, "jpeg", QUALITIES["jpeg"][0])) - 200
    for point in found:
        assert 0 <= point.payload_bytes < point.file_bytes
    assert found[0].payload_bytes == pytest.approx(found[0].file_bytes - blank, abs=1e-9)
    assert found[-1].psnr > found[0].psnr and found[-1].file_bytes > found[0].file_bytes


@pytest.mark.parametrize("codec", available())
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_writes_grey_and_colour_and_shrunk(codec, channels):
    found = codec_points(smooth(2, channels), (codec,), shrunk=(8,))
    assert len(found) == len(QUALITIES[codec]) + 1 and found[-1].setting.endswith("shrunk to 8")
    assert max(point.psnr for point in found) > 25
    blank = codec_points(torch.full((1, channels, 16, 16), 128 / 255), (codec,))
    assert all(point.payload_bytes == 0 for point in blank)


def test_the_tokenizer_at_each_length_beside_the_mean_image():
    tokenizer, images = tiny(), pictures(4)
    found = rate_distortion(tokenizer, images, codecs=("webp",), lengths=(1, 7))
    assert [point.length for point in found.tokens] == [1, 7]
    for point in found.tokens:
        assert point.payload_bytes == packed_size(point.length, 5)
        assert point.file_bytes == HEADER + point.payload_bytes
        assert point.shared_bytes == (HEADER + packed_size(4 * point.length, 5)) / 4
        shown = tokenizer.decode(tokenizer.encode(images), point.length)
        assert point.quality == pytest.approx(float(psnr(shown, images).mean()), abs=1e-5)
    assert found.mean_image == pytest.approx(float(psnr(images.mean(0).expand(4, -1, -1, -1), images).mean()))
