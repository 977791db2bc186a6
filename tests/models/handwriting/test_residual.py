"""The ResNet of pictures: its sizes, worked values, and padding that changes nothing."""

import pytest
import torch
from torch import nn

from oneloop.models.handwriting.residual import BasicBlock, ChannelNorm, ResidualTrunk, halved, keep_width
from oneloop.models.seeded import seeded


def test_channels_are_normalised_at_each_place():
    norm, theirs = ChannelNorm(4).double(), nn.LayerNorm(4).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5, -1.0]))
        norm.bias.copy_(torch.tensor([0.0, 0.1, 0.2, 0.3]))
    theirs.load_state_dict(norm.state_dict())
    x = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0)).double()
    wanted = theirs(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(x), wanted, atol=1e-12, rtol=0)


def test_widths_are_kept_and_halved():
    kept = keep_width(torch.ones(3, 2, 1, 4), torch.tensor([0, 3, 4]))
    assert kept[:, 0, 0].tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert halved(torch.tensor([1, 2, 3, 8, 9]), 2).tolist() == [1, 1, 2, 4, 5]
    assert halved(torch.tensor([1, 9]), 1).tolist() == [1, 9]


@torch.no_grad()
def test_a_block_whose_second_convolution_is_zero_is_its_shortcut():
    block = BasicBlock(3, 3)
    block.second.weight.zero_()
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found, width = block(x, torch.tensor([5, 2]))
    assert isinstance(block.shortcut, nn.Identity) and width.tolist() == [5, 2]
    assert torch.equal(found, keep_width(x.relu(), torch.tensor([5, 2])))


@torch.no_grad()
@pytest.mark.parametrize(
    ("stem", "dilated", "shape"), [(1, 0, (8, 4, 6)), (2, 6, (6, 2, 3)), (4, 6, (6, 1, 2))]
)
def test_a_word_is_the_same_alone_and_in_a_wider_batch(stem, dilated, shape):
    """Of every width: a layer sees an even one's last column from further away than an odd one's."""
    with seeded(1):
        trunk = ResidualTrunk((4, 8), 2, stem, dilated).double()
    pictures = torch.rand(12, 1, 8, 12, generator=torch.Generator().manual_seed(0)).double()
    widths = torch.arange(1, 13)
    batch, columns = trunk(pictures, widths)
    assert batch.shape[1:] == shape
    for row, width in enumerate(widths.tolist()):
        alone, count = trunk(pictures[row : row + 1, ..., :width], widths[row : row + 1])
        assert int(count) == int(columns[row]) == alone.shape[-1]
        torch.testing.assert_close(batch[row, ..., : int(count)], alone[0], atol=1e-12, rtol=0)
        assert (batch[row, ..., int(count) :] == 0).all()


def test_dilation_is_of_the_last_stage_but_its_first_convolution():
    trunk = ResidualTrunk((4, 8), 2, 1, dilated=8)
    dilations = [(each.first.dilation[0], each.second.dilation[0]) for each in trunk.stages]
    assert dilations == [(1, 1)] * 4 + [(1, 2), (2, 2)]
    assert [each.stride for each in trunk.stages] == [1, 1, 2, 1, 1, 1]
