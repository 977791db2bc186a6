"""Micro-batches of a language policy: which rollouts are forwarded together, and how they are packed."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts
from oneloop.sample.policies.tokens.chains import by_rollout
from oneloop.sample.policies.tokens.packing import Packed, Prompt, pack, shared_rows
from oneloop.sample.policies.trees.tree_packing import pack_trees

PromptOf = Callable[[Rollouts, int], Prompt]
"""The prompt of one row."""
Width = Callable[[int], int]
"""Tokens of a packed row, from the longest sequence in it; 0: nothing is packed."""


def micro_batches(
    rollouts: Rollouts, wanted: Tensor, prompt: PromptOf, width: Width, budget: int
) -> Iterator[Tensor]:
    """Indices of the actions `wanted` (bool [N]), in pieces of whole rollouts.

    A piece takes at most `budget` tokens to forward, padding included, or is one rollout. Rollouts with one
    prompt go together, and packed rows of like length.
    """
    rows = rollouts.owner[wanted].unique()
    prompts = [prompt(rollouts, row) for row in rows.tolist()]
    inputs = (rollouts.length[rows] - 1).tolist()
    longest = max((len(each.ids) + tokens for each, tokens in zip(prompts, inputs, strict=True)), default=0)
    shared = shared_rows(prompts, inputs, min(width(longest), budget))
    piece: list[int] = []
    height = widest = 0
    for members, tokens in sorted(shared, key=lambda row: -row[1]):
        if piece and (height + 1) * widest > budget:
            yield _actions_of(rollouts, wanted, rows[piece])
            piece, height = [], 0
        widest = widest if piece else tokens
        piece, height = [*piece, *members], height + 1
    if piece:
        yield _actions_of(rollouts, wanted, rows[piece])


def _actions_of(rollouts: Rollouts, wanted: Tensor, rows: Tensor) -> Tensor:
    mine = torch.zeros(len(rollouts), dtype=torch.bool)
    mine[rows] = True
    return (wanted & mine[rollouts.owner]).nonzero().squeeze(1)


def packed(rollouts: Rollouts, prompt: PromptOf, width: Width) -> Packed:
    """All `rollouts` as rows to forward; what leaves of a tree share is in them once."""
    completions = [[int(token) for token in tokens] for tokens in by_rollout(rollouts, "token")]
    prompts = [prompt(rollouts, row) for row in range(len(rollouts))]
    longest = max(len(each.ids) + len(tokens) for each, tokens in zip(prompts, completions, strict=True))
    if not width(longest) or rollouts.structure.is_chain:
        return pack(prompts, completions, width(longest))
    row, action = rollouts.paths
    paths = [part.tolist() for part in action.split(row.bincount().tolist())]
    return pack_trees(prompts, completions, paths, width(longest))
