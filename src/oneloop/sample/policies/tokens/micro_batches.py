"""Micro-batches of a language policy: which rollouts are forwarded together, and how they are packed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts
from oneloop.sample.policies.tokens.chains import by_rollout
from oneloop.sample.policies.tokens.flat import Flat, flatten
from oneloop.sample.policies.tokens.packing import Packed, Prompt, pack, shared_rows
from oneloop.sample.policies.trees.tree_packing import pack_trees

PromptOf = Callable[[Rollouts, int], Prompt]
"""The prompt of one row."""
PASS = 32
"""Tokens that take as long as a forward and backward pass does beside its tokens."""


class Layout(Protocol):
    """How a model takes sequences of at most `longest` tokens."""

    def packed_width(self, longest: int) -> int:
        """Tokens of a packed row; 0: nothing is packed."""

    def flat(self, prompts: Sequence[Prompt], longest: int) -> bool:
        """Whether they go in one row without padding, if some begin with the same prompt."""


def micro_batches(
    rollouts: Rollouts, wanted: Tensor, prompt: PromptOf, layout: Layout, budget: int
) -> Iterator[Tensor]:
    """Indices of the actions `wanted` (bool [N]), in pieces of whole rollouts.

    A piece takes at most `budget` tokens to forward, padding included, or is one rollout. Rollouts with one
    prompt go together, in one row without padding (`flat`) or in packed rows of like length.
    """
    rows = rollouts.owner[wanted].unique()
    prompts = [prompt(rollouts, row) for row in rows.tolist()]
    inputs = (rollouts.length[rows] - 1).tolist()
    longest = max((len(each.ids) + tokens for each, tokens in zip(prompts, inputs, strict=True)), default=0)
    flat = rollouts.structure.is_chain and layout.flat(prompts, longest)
    width = budget if flat else min(layout.packed_width(longest), budget)
    by_length = sorted(shared_rows(prompts, inputs, width), key=lambda row: -row[1])
    sharing = [row for row in by_length if flat and len(row[0]) > 1]
    others = [row for row in by_length if not flat or len(row[0]) == 1]
    pieces = [sharing[start:end] for start, end in filled([tokens for _, tokens in sharing], budget)]
    pieces += [others[start:end] for start, end in cuts([tokens for _, tokens in others], budget)]
    for piece in pieces:
        members = [member for row, _ in piece for member in row]
        yield _actions_of(rollouts, wanted, rows[members])


def cuts(lengths: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """[start, end) of each piece of rows with these falling `lengths` that together forward fewest tokens.

    A piece forwards its number of rows times its first length: at most `budget`, or it is one row. `PASS`
    more are counted for each, so that nothing is cut for a few tokens.
    """
    longest, fewest = np.array(lengths, dtype=np.int64), np.zeros(len(lengths) + 1, dtype=np.int64)
    before, first = [0], 0
    for end in range(1, len(lengths) + 1):
        while first < end - 1 and (end - first) * lengths[first] > budget:
            first += 1
        padded = np.arange(end - first, 0, -1) * longest[first:end]
        total = fewest[first:end] + padded + PASS
        before.append(first + int(total.argmin()))
        fewest[end] = total.min()
    pieces, end = list[tuple[int, int]](), len(lengths)
    while end:
        pieces.append((before[end], end))
        end = before[end]
    return pieces[::-1]


def filled(lengths: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """[start, end) of each piece of rows with these `lengths`: at most `budget` tokens, or one row."""
    start, tokens = 0, 0
    for end, length in enumerate(lengths):
        if end > start and tokens + length > budget:
            yield start, end
            start, tokens = end, 0
        tokens += length
    if lengths:
        yield start, len(lengths)


def _actions_of(rollouts: Rollouts, wanted: Tensor, rows: Tensor) -> Tensor:
    mine = torch.zeros(len(rollouts), dtype=torch.bool)
    mine[rows] = True
    return (wanted & mine[rollouts.owner]).nonzero().squeeze(1)


def packed(rollouts: Rollouts, prompt: PromptOf, layout: Layout) -> Packed | Flat:
    """All `rollouts` as rows to forward; what leaves of a tree share is in them once."""
    completions = [[int(token) for token in tokens] for tokens in by_rollout(rollouts, "token")]
    prompts = [prompt(rollouts, row) for row in range(len(rollouts))]
    longest = max(len(each.ids) + len(tokens) for each, tokens in zip(prompts, completions, strict=True))
    width, chain = layout.packed_width(longest), rollouts.structure.is_chain
    if chain and len(set(prompts)) < len(prompts) and layout.flat(prompts, longest):
        return flatten(prompts, completions)
    if chain or not width:
        return pack(prompts, completions, width)
    row, action = rollouts.paths
    paths = [part.tolist() for part in action.split(row.bincount().tolist())]
    return pack_trees(prompts, completions, paths, width)
