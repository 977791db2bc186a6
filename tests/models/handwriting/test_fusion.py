"""What is written and its hand: tokens of style, glyphs in their order, and edges that may be left out."""

import math

import pytest
import torch

from oneloop.models.handwriting.fusion import Fusion, GlyphEncoder
from oneloop.models.handwriting.layers import places
from oneloop.models.handwriting.style_encoder import StyleEncoder
from oneloop.models.seeded import seeded

WIDTH = 16
"""With 8 the first stage of style has one channel, which its normalisation sets to 0."""


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_character_is_encoded_by_itself_and_told_its_place():
    with seeded(0):
        encoder = GlyphEncoder(WIDTH, 1)
    glyphs = drawn(1, 1, 8, 8).expand(1, 3, 8, 8)
    encoder, glyphs = encoder.double(), glyphs.double()
    found = encoder(glyphs, torch.tensor([[True, True, False]]))
    where = places(3, WIDTH, torch.device("cpu"))
    picture = (found[0, 0] - where[0]) / math.sqrt(WIDTH)
    torch.testing.assert_close(found[0, 1], picture * math.sqrt(WIDTH) + where[1], atol=1e-12, rtol=0)
    assert (found[0, 2] == 0).all()
    blank = encoder(torch.ones(1, 1, 8, 8).double(), torch.ones(1, 1).bool())
    assert torch.equal(blank[0, 0], where[0].double())  # paper is 0 inside, and convolutions have no bias


@torch.no_grad()
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_style_has_a_token_for_each_square_and_none_of_padding(stride):
    with seeded(0):
        encoder = StyleEncoder(WIDTH, 2, 1, 1, stride).double()
    pictures, edges = drawn(3, 1, 16, 48).double(), drawn(3, 1, 16, 48, seed=1).double()
    widths = torch.tensor([48, 16, 32])
    batch = encoder(pictures, edges, widths)
    rows, columns = 16 // stride, [width // stride for width in (48, 16, 32)]
    assert batch.spatial.shape == batch.high.shape == (3, rows * 48 // stride, WIDTH)
    assert batch.mask.sum(1).tolist() == [rows * each for each in columns]
    assert (batch.spatial[~batch.mask] == 0).all() and (batch.high[~batch.mask] == 0).all()
    for row, width in enumerate(widths.tolist()):
        alone = encoder(
            *(each[row : row + 1, ..., :width] for each in (pictures, edges)), widths[row : row + 1]
        )
        for name in ("spatial", "high"):
            mine = getattr(batch, name)[row][batch.mask[row]]
            torch.testing.assert_close(mine, getattr(alone, name)[0], atol=1e-12, rtol=0)
        for name in ("z_spatial", "z_high"):
            torch.testing.assert_close(getattr(batch, name)[row], getattr(alone, name)[0], atol=1e-12, rtol=0)
    assert batch.z_high.shape == (3, WIDTH // 2)
    torch.testing.assert_close(batch.z_high.norm(dim=1), torch.ones(3).double())


@torch.no_grad()
def test_without_edges_there_is_one_memory_and_one_embedding():
    with seeded(0):
        encoder = StyleEncoder(WIDTH, 2, high_frequency=False, gated=False)
        fusion = Fusion(WIDTH, 2, 1, 1, high_frequency=False)
    style = encoder(drawn(1, 1, 8, 16), drawn(1, 1, 8, 16, seed=1), torch.tensor([16]))
    assert style.high.shape == (1, 0, WIDTH) and style.z_high.shape == (1, 0)
    assert (style.gate == 1).all() and fusion.high is None
    context = fusion(drawn(1, 2, 8, 8), torch.tensor([[True, False]]), style)
    assert context.shape == (1, 2, WIDTH) and (context[0, 1] == 0).all()


def test_a_picture_without_columns_is_refused():
    with pytest.raises(ValueError, match="a picture has no columns, so there is no token of style"):
        StyleEncoder(WIDTH, 2)(drawn(1, 1, 8, 4), drawn(1, 1, 8, 4), torch.tensor([0]))
