"""Features of words: their shapes, other heights, and paper that changes nothing."""

import copy

import pytest
import torch
from torch.nn import functional as F

from oneloop.models.judges.word_trunk import WordTrunk, inked, masked
from oneloop.models.seeded import seeded
from tests.support.rounding import room


@pytest.fixture(scope="module")
def trunk():
    with seeded(0):
        made = WordTrunk((4, 6), 8).eval()
    for norm in made.norms:  # a bias that is not 0, so that columns without ink would say something
        norm.bias.data.fill_(0.5)
    return made


def pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_ink_is_one_and_what_is_behind_a_word_is_none():
    image = torch.tensor([[[[1.0, 0.25, 0.0, 0.0]] * 2]])
    ink, widths = inked(torch.cat([image, image]), torch.tensor([3, 4]), 2)
    assert ink[:, 0, 0].tolist() == [[0, 0.75, 1, 0], [0, 0.75, 1, 1]] and widths.tolist() == [3, 4]
    colours = torch.stack([torch.full((1, 2, 3), value) for value in (0.0, 0.3, 0.9)], 1)[0][None]
    assert inked(colours.reshape(1, 3, 2, 3), None, 2)[0].flatten().tolist() == pytest.approx([0.6] * 6)
    assert masked(torch.ones(2, 1, 1, 3), torch.tensor([0, 2]))[:, 0, 0].tolist() == [[0, 0, 0], [1, 1, 0]]


def test_another_height_is_scaled_with_its_width():
    flat = torch.zeros(2, 1, 4, 12)  # all ink
    ink, widths = inked(flat, torch.tensor([5, 12]), 8)
    assert ink.shape == (2, 1, 8, 24) and widths.tolist() == [10, 24]
    assert (ink[0, ..., :9] == 1).all() and (ink[0, ..., 10:] == 0).all()
    small, widths = inked(torch.zeros(1, 1, 24, 7), None, 8)
    assert small.shape == (1, 1, 8, 3) and widths.tolist() == [3]


@torch.no_grad()
@pytest.mark.parametrize("height", [8, 12])
def test_every_width_gives_the_same_alone_and_with_paper_behind(trunk, height):
    images = pictures(9, 1, height, 9)
    widths = torch.arange(1, 10)
    close = {"atol": room(lambda move: move(copy.deepcopy(trunk))(images, widths)[0]), "rtol": 0}
    batch, columns = trunk(images, widths)
    assert batch.shape[2] == trunk.features == 6 * 8 // 4
    for row, width in enumerate(widths.tolist()):
        alone, count = trunk(images[row : row + 1, ..., :width])
        if height == 8:
            assert int(count) == (width + 1) // 2
        assert int(count) == int(columns[row])
        torch.testing.assert_close(batch[row, : int(count)], alone[0, : int(count)], **close)
        assert (batch[row, int(count) :] == 0).all()
        paper = F.pad(images[row : row + 1, ..., :width], (0, 6), value=1.0)
        known, _ = trunk(paper, widths[row : row + 1])
        torch.testing.assert_close(known[0, : int(count)], alone[0, : int(count)], **close)


@pytest.mark.parametrize("shape", [(8, 9), (1, 8, 9), (1, 1, 8, 0), (1, 1, 0, 9)])
def test_what_is_no_batch_of_words_is_refused(trunk, shape):
    with pytest.raises(ValueError, match=r"pictures of words are \[b, c, H, W\], got \("):
        trunk(torch.zeros(shape))
