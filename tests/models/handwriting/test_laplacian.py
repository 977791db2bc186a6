import math

import pytest
import torch

from oneloop.models.handwriting.laplacian import laplacian, words


def plane(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def test_constants_and_ramps_have_none():
    assert laplacian(torch.full((2, 1, 5, 7), 0.3), "signed").abs().max() == 0
    row, column = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    ramp = (0.01 * row - 0.07 * column + 0.4).double()[None, None]
    assert laplacian(ramp, "signed")[..., 1:-1, 1:-1].abs().max() < 1e-7  # float32 steps of the ramp


def test_a_black_pixel_on_paper():
    image = torch.ones(1, 1, 5, 5, dtype=torch.float64)
    image[0, 0, 2, 2] = 0
    found = laplacian(image, "signed")[0, 0]
    wanted = torch.zeros(5, 5, dtype=torch.float64)
    wanted[2, 2] = 4
    for place in ((1, 2), (3, 2), (2, 1), (2, 3)):
        wanted[place] = -1
    assert torch.equal(found, wanted)
    assert laplacian(image)[0, 0].nonzero().tolist() == [[2, 2]]
    assert laplacian(image, "abs").sum() == 5  # 4 is more than 1 can be


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ([1, 1, 1, 0, 0, 0], [0, 0, -1, 1, 0, 0]),  # a step
        ([1, 1, 0, 1, 1], [0, -1, 2, -1, 0]),  # a line of one pixel
        ([1, 1, 0, 0, 0, 1, 1], [0, -1, 1, 0, 1, -1, 0]),  # a stroke of three
    ],
)
def test_steps_lines_and_strokes(row, wanted):
    image = plane([row] * 3)
    assert laplacian(image, "signed")[0, 0, 1].tolist() == wanted
    assert laplacian(image, "clip")[0, 0, 1].tolist() == [min(max(each, 0), 1) for each in wanted]
    assert laplacian(image, "abs")[0, 0, 1].tolist() == [min(abs(each), 1) for each in wanted]


@pytest.mark.parametrize(("x", "y"), [(0, 0), (4, 0), (4, 4), (1, 2)])
def test_frequency_response(x, y):
    """A wave of (2 pi x / 8, 2 pi y / 8) comes back times 2 cos wx + 2 cos wy - 4, away from the edges."""
    wx, wy = 2 * math.pi * x / 8, 2 * math.pi * y / 8
    row, column = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    wave = torch.cos(wx * column.double() + wy * row.double())[None, None]
    response = 2 * math.cos(wx) + 2 * math.cos(wy) - 4
    found = laplacian(wave, "signed")[..., 1:-1, 1:-1]
    torch.testing.assert_close(found, response * wave[..., 1:-1, 1:-1], atol=1e-12, rtol=0)
    assert response == {(0, 0): 0, (4, 0): -4, (4, 4): -8}.get((x, y), response)


def test_brightness_changes_nothing_contrast_scales_and_a_blob_sums_to_nothing():
    image = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = laplacian(image, "signed")
    torch.testing.assert_close(laplacian(image + 0.25, "signed"), found, atol=1e-14, rtol=0)
    torch.testing.assert_close(laplacian(image * 0.5, "signed"), found * 0.5, atol=1e-14, rtol=0)
    blob = torch.nn.functional.pad(image, (2, 2, 2, 2), value=1.0)
    assert abs(float(laplacian(blob, "signed").sum())) < 1e-13


def test_other_shapes_and_modes_are_refused():
    with pytest.raises(ValueError, match=r"\[b, 1, H, W\], got \(2, 3, 4, 4\)"):
        laplacian(torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="clip, abs, signed, got 'both'"):
        laplacian(torch.zeros(1, 1, 4, 4), "both")  # type: ignore[arg-type]


def test_words_of_several_widths():
    generator = torch.Generator().manual_seed(1)
    short, long = (torch.rand(1, 4, width, generator=generator) for width in (3, 6))
    batch = words([short, long])
    assert batch.images.shape == batch.high.shape == (2, 1, 4, 6)
    assert batch.mask.tolist() == [[True] * 3 + [False] * 3, [True] * 6]
    assert (batch.images[0, ..., 3:] == 1).all() and (batch.high[0, ..., 3:] == 0).all()
    alone = words([short])
    assert torch.equal(batch.images[:1, ..., :3], alone.images)
    assert torch.equal(batch.high[:1, ..., :3], alone.high)  # padding is no edge
    assert torch.equal(words([long], longest=4).images[0], long[..., :4])


def test_words_that_are_none():
    with pytest.raises(ValueError, match="no pictures"):
        words([])
    with pytest.raises(ValueError, match=r"picture 1 must be \[1, 4, w\], got \(1, 5, 3\)"):
        words([torch.zeros(1, 4, 3), torch.zeros(1, 5, 3)])
