"""The layers are those of torch with the same weights, and what is not there changes nothing."""

import math

import pytest
import torch
from torch import nn

from oneloop.models.handwriting.layers import Attention, Layer, Layers, places, places_of_map
from oneloop.models.seeded import seeded

WIDTH, HEADS = 8, 2


def tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def copied(mine: Attention, theirs: nn.MultiheadAttention):
    """Gives torch's attention the weights of `mine`."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([mine.query.weight, mine.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([mine.query.bias, mine.key_value.bias]))
    theirs.out_proj.load_state_dict(mine.out.state_dict())


@torch.no_grad()
def test_attention_is_that_of_torch():
    with seeded(1):
        mine, theirs = Attention(WIDTH, HEADS), nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    mine, theirs = mine.double(), theirs.double()
    copied(mine, theirs)
    x, memory = tokens(2, 3, WIDTH), tokens(2, 5, WIDTH, seed=1)
    mask = torch.tensor([[True] * 5, [True, True, False, True, False]])
    wanted, _ = theirs(x, memory, memory, key_padding_mask=~mask, need_weights=False)
    torch.testing.assert_close(mine(x, memory, mask), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("memory", [False, True])
@torch.no_grad()
def test_a_layer_is_a_pre_norm_layer_of_torch(memory):
    kind = nn.TransformerDecoderLayer if memory else nn.TransformerEncoderLayer
    with seeded(2):
        mine = Layer(WIDTH, HEADS, memory)
        theirs = kind(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True).train()
    mine, theirs = mine.double(), theirs.double()
    copied(mine.own, theirs.self_attn)
    pairs = [(mine.own_norm, theirs.norm1), (mine.mlp[1], theirs.linear1), (mine.mlp[3], theirs.linear2)]
    if memory:
        copied(mine.other, theirs.multihead_attn)
        pairs.append((mine.other_norm, theirs.norm2))
    for number, (own, other) in enumerate(
        [*pairs, (mine.mlp[0], theirs.norm3 if memory else theirs.norm2)], 1
    ):
        if isinstance(own, nn.LayerNorm):  # weights that a layer norm does not start with
            own.weight.mul_(1 + number / 10)
        other.load_state_dict(own.state_dict())
    x, seen = tokens(2, 4, WIDTH), tokens(2, 3, WIDTH, seed=1)
    mask, known = torch.ones(2, 4).bool(), torch.tensor([[True] * 3, [True, False, True]])
    if memory:
        wanted = theirs(x, seen, memory_key_padding_mask=~known)
        found = mine(x, mask, seen, known)
    else:
        wanted, found = theirs(x), mine(x, mask, None, None)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


@torch.no_grad()
def test_tokens_that_are_not_there_change_nothing():
    with seeded(3):
        layers = Layers(WIDTH, HEADS, 2, memory=True).double()
    x, memory = tokens(1, 3, WIDTH), tokens(1, 4, WIDTH, seed=1)
    alone = layers(x, torch.ones(1, 3).bool(), memory, torch.ones(1, 4).bool())
    more = torch.cat([x, 50 * tokens(1, 2, WIDTH, seed=2)], 1)
    other = torch.cat([memory, 50 * tokens(1, 6, WIDTH, seed=3)], 1)
    padded = layers(more, torch.arange(5)[None] < 3, other, torch.arange(10)[None] < 4)
    torch.testing.assert_close(padded[:, :3], alone, atol=1e-12, rtol=0)
    assert (padded[:, 3:] == 0).all()


def test_places_are_sines_and_cosines_in_turns():
    found = places(3, 4, torch.device("cpu"))
    for place in range(3):
        slow = place / 100  # 10000^(-2/4)
        wanted = [math.sin(place), math.cos(place), math.sin(slow), math.cos(slow)]
        # the place is rounded, its sine is, and so is what it was multiplied by
        assert found[place].tolist() == pytest.approx(wanted, abs=4 * torch.finfo(torch.float32).eps)
    assert places(2, 3, torch.device("cpu")).shape == (2, 3)  # an odd width ends with a sine


def test_a_place_of_a_map_is_its_column_and_its_row():
    device = torch.device("cpu")
    found, line = places_of_map(3, 5, 8, device), places(5, 4, device)
    assert found.shape == (8, 3, 5)
    for row in range(3):
        for column in range(5):
            assert torch.equal(found[:, row, column], torch.cat([line[column], line[row]]))
