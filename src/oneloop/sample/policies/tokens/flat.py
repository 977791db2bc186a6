"""All sequences of a micro-batch in one row, without padding; a prompt that several share is in it once.

    N tokens   s sequences   c sequences of a block   P tokens of their prompt   L longest of them

    prompt | completion 1 | completion 2 | prompt | completion 3 | prompt | completion 4 | ...

No mask says who sees whom, but blocks of scores [c, L, P + L] that hold little else than what is seen: eight
answers of 45 tokens to a prompt of 70 have 43,000 scores in blocks, and 185,000 in a dense row of 430.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from oneloop.sample.policies.tokens.packing import Prompt, shared_rows

SCORES = 1 << 16
"""Scores of a block for each head: those of four heads stay in a CPU's cache."""


@dataclass(frozen=True)
class Block:
    """Some sequences, of which each token sees the prompt, the tokens before it, and itself."""

    prefix: slice
    """Where the prompt is that they share, P tokens; empty when it is among their own."""
    tokens: Tensor
    """int64 [c, L], their own; after the end of a shorter sequence, its last again."""
    kept: Tensor | None
    """bool [c, L], False after the end of a sequence; None: all of one length."""
    mask: Tensor
    """fp32 [L, P + L], added to scores: 0 for what a token sees, -inf for what comes later."""


@dataclass(frozen=True)
class Flat:
    """Packed sequences, and where the tokens of each went; for models whose attention takes `blocks`."""

    ids: Tensor
    """int64 [1, N]."""
    positions: Tensor
    """int64 [1, N]."""
    prompt_end: Tensor
    """int64 [s], the column after the prompt of each sequence."""
    start: Tensor
    """int64 [s], where its completion begins."""
    blocks: tuple[Block, ...]
    """Each token belongs to exactly one of them."""

    @property
    def tokens(self) -> int:
        """N."""
        return self.ids.shape[1]

    def place(self, sequence: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(row [a], column [a]) whose output predicts the token at `depth` [a] of `sequence` [a]."""
        column = torch.where(depth == 0, self.prompt_end[sequence], self.start[sequence] + depth) - 1
        return torch.zeros_like(column), column


def flatten(prompts: Sequence[Prompt], completions: Sequence[Sequence[int]]) -> Flat:
    """Lays out `completions` after their `prompts`, those with equal prompts together.

    The last token of a completion is never an input: nothing is predicted from it.
    """
    ids, places = list[int](), list[int]()
    prompt_end, start = (
        torch.zeros(len(prompts), dtype=torch.long),
        torch.zeros(len(prompts), dtype=torch.long),
    )
    alone, blocks = list[_Run](), list[Block]()
    for members, _ in shared_rows(prompts, [len(tokens) - 1 for tokens in completions], 1 << 62):
        prompt, first = prompts[members[0]].ids, len(ids)
        ids += prompt
        places += range(len(prompt))
        end, runs = len(ids), list[_Run]()
        for member in members:
            inputs = completions[member][:-1]
            prompt_end[member], start[member] = end, len(ids)
            runs.append(_Run(len(ids), len(inputs)))
            ids += inputs
            places += range(len(prompt), len(prompt) + len(inputs))
        if len(members) > 1:
            alone.append(_Run(first, end - first))
            blocks += _blocks(runs, slice(first, end))
        else:
            alone.append(_Run(first, len(ids) - first))
    blocks += _blocks(alone, slice(0, 0))
    return Flat(torch.tensor([ids]), torch.tensor([places]), prompt_end, start, tuple(blocks))


class _Run(NamedTuple):
    """Consecutive tokens that one sequence alone has."""

    start: int
    length: int


def _blocks(runs: Sequence[_Run], prefix: slice) -> Iterator[Block]:
    """Each of `runs` in one block, with others of like length."""
    together, shared = list[_Run](), prefix.stop - prefix.start
    for run in sorted((run for run in runs if run.length), key=lambda run: run.length):
        if together and (len(together) + 1) * run.length * (shared + run.length) > SCORES:
            yield _block(together, prefix)
            together = []
        together.append(run)
    if together:
        yield _block(together, prefix)


def _block(runs: Sequence[_Run], prefix: slice) -> Block:
    """The block of `runs`, the longest of which is the last."""
    longest, shared = runs[-1].length, prefix.stop - prefix.start
    place, (start, length) = torch.arange(longest), torch.tensor(runs).t()[..., None]
    mask = torch.zeros(longest, shared + longest)
    mask[:, shared:].masked_fill_(place > place[:, None], float("-inf"))
    kept = None if runs[0].length == longest else place < length
    return Block(prefix, start + place.minimum(length - 1), kept, mask)
