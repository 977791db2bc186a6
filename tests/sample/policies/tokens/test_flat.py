"""Sequences in one row: each token sees its own prefix, by blocks as by a dense mask."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from oneloop.sample.policies.tokens.flat import SCORES, Flat, flatten
from oneloop.sample.policies.tokens.flat_attention import NAME, attending, attending_again, flat_attention
from oneloop.sample.policies.tokens.packing import Prompt


def laid_out(prompts: list[list[int]], lengths: list[int]) -> tuple[Flat, list[list[int]]]:
    """Completions of these lengths, all of whose tokens differ."""
    completions = [[1000 * (i + 1) + depth for depth in range(lengths[i])] for i in range(len(prompts))]
    return flatten([Prompt(tuple(prompt)) for prompt in prompts], completions), completions


def seen_by_blocks(flat: Flat) -> torch.Tensor:
    """bool [N, N], from the blocks; each token is in one."""
    seen, times = torch.zeros(flat.tokens, flat.tokens, dtype=torch.bool), torch.zeros(flat.tokens)
    everything = torch.arange(flat.tokens)
    for block in flat.blocks:
        for row, own in enumerate(block.tokens):
            columns = torch.cat([everything[block.prefix], own])
            for place, token in enumerate(own.tolist()):
                if block.kept is None or block.kept[row, place]:
                    times[token] += 1
                    seen[token, columns[block.mask[place] == 0]] = True
    assert bool((times == 1).all())
    return seen


shapes = (
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=8),
    st.lists(st.integers(1, 6) | st.integers(200, 300), min_size=8, max_size=8),
)


@given(*shapes)
@settings(max_examples=40, deadline=None)
def test_every_token_sees_its_own_prefix(prompts, lengths):
    flat, completions = laid_out(prompts, lengths)
    seen = seen_by_blocks(flat)
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        for depth in {0, 1, len(completion) // 2, len(completion) - 1} & set(range(len(completion))):
            row, column = flat.place(torch.tensor([i]), torch.tensor([depth]))
            mine = seen[column[0]].nonzero().squeeze(1)
            assert flat.ids[row[0], mine].tolist() == [*prompt, *completion[:depth]]
            assert flat.positions[row[0], mine].tolist() == list(range(len(prompt) + depth))
    distinct = {tuple(prompt) for prompt in prompts}
    assert flat.tokens == sum(map(len, distinct)) + sum(length - 1 for length in lengths[: len(prompts)])


def test_blocks_stay_small_and_hold_little_that_is_not_seen():
    flat, _ = laid_out([[1] * 70] * 64, [45] * 64)
    sizes = [len(block.tokens) * block.mask.numel() for block in flat.blocks]
    assert max(sizes) <= SCORES
    assert sum(sizes) < 2 * int(seen_by_blocks(flat).sum())
    flat, _ = laid_out([[1]] * 3, [600, 5, 5])
    assert [len(block.tokens) for block in flat.blocks] == [2, 1, 1], "a long one has a block of its own"


@pytest.mark.parametrize("heads", [(4, 4, 8, 8), (6, 2, 8, 4)])
def test_attention_and_its_slopes_are_those_of_a_dense_mask(heads):
    queries, keys, size, of_values = heads
    flat, _ = laid_out([[1, 2], [3], [1, 2], [4], [1, 2]], [5, 265, 131, 1, 7])
    draw = torch.Generator().manual_seed(0)
    shape = [(1, queries, flat.tokens, size), (1, keys, flat.tokens, size), (1, keys, flat.tokens, of_values)]
    parts = [torch.randn(*one, generator=draw, dtype=torch.float64, requires_grad=True) for one in shape]
    config = SimpleNamespace(_attn_implementation="sdpa")
    with attending(config, flat.blocks) as attended:
        found, _ = flat_attention(layer := torch.nn.Identity(), *parts, None, scaling=0.3)
    assert attended == [layer]
    wanted = scaled_dot_product_attention(
        *parts, attn_mask=seen_by_blocks(flat), scale=0.3, enable_gqa=keys < queries
    ).transpose(1, 2)
    assert torch.allclose(found, wanted, atol=1e-12)
    slope = torch.randn(wanted.shape, generator=draw, dtype=torch.float64)
    slopes = [torch.autograd.grad(made, parts, slope) for made in (found, wanted)]
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(*slopes, strict=True))


def test_in_bf16_it_is_as_exact_as_rounding_what_comes_in():
    flat, _ = laid_out([[1, 2]] * 3, [5, 9, 30])
    draw = torch.Generator().manual_seed(0)
    parts = [torch.randn(1, 4, flat.tokens, 8, generator=draw).bfloat16() for _ in range(3)]
    with attending(SimpleNamespace(_attn_implementation="sdpa"), flat.blocks), torch.autocast("cpu"):
        found, _ = flat_attention(torch.nn.Identity(), *parts, None)
    wanted = scaled_dot_product_attention(*(part.double() for part in parts), attn_mask=seen_by_blocks(flat))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted.transpose(1, 2).bfloat16())


def test_the_model_is_left_as_it_was_found():
    config = SimpleNamespace(_attn_implementation="sdpa")
    with pytest.raises(RuntimeError, match="stop"), attending(config, ()):
        again = attending_again()
        raise RuntimeError("stop")
    assert config._attn_implementation == "sdpa"
    with again:
        assert config._attn_implementation == NAME
    assert config._attn_implementation == "sdpa"
    with attending_again():
        assert config._attn_implementation == "sdpa", "nothing to enter again"


@pytest.mark.parametrize("strange", [{"softcap": 30.0}, {"s_aux": torch.zeros(4)}])
def test_attention_of_another_kind_is_refused(strange):
    flat, _ = laid_out([[1, 2]], [5])
    parts = [torch.zeros(1, 4, flat.tokens, 8)] * 3
    with (
        attending(SimpleNamespace(_attn_implementation="sdpa"), flat.blocks),
        pytest.raises(ValueError, match="Identity has soft caps or attention sinks"),
    ):
        flat_attention(torch.nn.Identity(), *parts, None, **strange)
