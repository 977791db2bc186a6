"""Rollouts that share a prompt share its forward pass: one packed row holds the prompt once.

    R packed rows   T longest   a chosen actions

    prompt | completion 1 | completion 2 | ...        each completion sees the prompt and itself
    0 .. P-1   P .. P+L1-1    P .. P+L2-1             positions, as if it followed the prompt alone

Eight answers of 8 tokens to a prompt of 72 forward 136 tokens instead of 640. A row is filled up to `WIDTH`
tokens only: attention within a row is dense, so very wide rows cost more than they save.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oneloop.engines.features import Features, turned

WIDTH = 384
"""Tokens of a packed row (a single longer sequence has a row of its own)."""


@dataclass(frozen=True)
class Packed:
    """Packed rows, padded on the right, and where the tokens of each sequence went."""

    ids: Tensor
    """int64 [R, T]."""
    positions: Tensor
    """int64 [R, T]."""
    segment: Tensor
    """int64 [R, T]: 0 the prompt, 1, 2 ... its completions; padding counts as part of the last."""
    row: Tensor
    """int64 [s], the packed row of each sequence."""
    start: Tensor
    """int64 [s], where its completion begins."""
    prompt: Tensor
    """int64 [s], length of its prompt."""
    tokens: int
    """Tokens in all rows, padding not counted."""
    features: tuple[Features | None, ...]
    """The pictures of each row's prompt."""

    @property
    def turned(self) -> Tensor | None:
        """int64 [A, R, T]: positions for a model with several axes of them; None: they are `positions`."""
        return turned(self.positions, self.features)

    @property
    def shares(self) -> bool:
        """Whether some row holds more than one completion."""
        return bool((self.segment > 1).any())

    def place(self, sequence: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(row [a], column [a]) whose output predicts the token at `depth` [a] of `sequence` [a]."""
        first = depth == 0
        column = torch.where(first, self.prompt[sequence], self.start[sequence] + depth) - 1
        return self.row[sequence], column

    def mask(self, dtype: torch.dtype) -> Tensor:
        """[R, 1, T, T], added to attention scores: 0 where a token may look, very negative elsewhere."""
        width = self.ids.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        of, to = self.segment[:, :, None], self.segment[:, None, :]
        seen = causal & ((to == 0) | (to == of))
        return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


class Prompt(NamedTuple):
    """What a sequence begins with."""

    ids: tuple[int, ...]
    """Token ids."""
    features: Features | None = None
    """Pictures that placeholders among them stand for."""


def pack(prompts: Sequence[Prompt], completions: Sequence[Sequence[int]], width: int) -> Packed:
    """Lays out `completions` after their `prompts`, those with equal prompts together, in rows of `width`.

    The last token of a completion is never an input: nothing is predicted from it.
    """
    inputs = [completion[:-1] for completion in completions]
    rows = shared_rows(prompts, [len(tokens) for tokens in inputs], width)
    return _lay_out([row for row, _ in rows], prompts, inputs)


def shared_rows(prompts: Sequence[Prompt], lengths: Sequence[int], width: int) -> list[tuple[list[int], int]]:
    """(sequences that share a row, its tokens) for each packed row; `lengths` are those of the inputs."""
    rows: list[tuple[list[int], int]] = []
    open_rows: dict[Prompt, int] = {}
    for index, prompt in enumerate(prompts):
        row = open_rows.get(prompt)
        if row is not None and rows[row][1] + lengths[index] <= width:
            members, used = rows[row]
            rows[row] = ([*members, index], used + lengths[index])
        else:
            open_rows[prompt] = len(rows)
            rows.append(([index], len(prompt.ids) + lengths[index]))
    return rows


def _lay_out(rows: list[list[int]], prompts: Sequence[Prompt], inputs: Sequence[Sequence[int]]) -> Packed:
    widest = max(len(prompts[row[0]].ids) + sum(len(inputs[index]) for index in row) for row in rows)
    ids, positions, segment = (np.zeros((len(rows), widest), dtype=np.int64) for _ in range(3))
    of_row, start = np.zeros(len(prompts), dtype=np.int64), np.zeros(len(prompts), dtype=np.int64)
    tokens = 0
    for r, row in enumerate(rows):
        prompt = prompts[row[0]].ids
        at = len(prompt)
        ids[r, :at], positions[r, :at] = prompt, np.arange(at)
        for number, index in enumerate(row, start=1):
            end = at + len(inputs[index])
            ids[r, at:end], positions[r, at:end] = inputs[index], len(prompt) + np.arange(end - at)
            segment[r, at:] = number
            of_row[index], start[index] = r, at
            at = end
        tokens += at
    lengths = np.array([len(prompt.ids) for prompt in prompts], dtype=np.int64)
    return Packed(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        segment=torch.from_numpy(segment),
        row=torch.from_numpy(of_row),
        start=torch.from_numpy(start),
        prompt=torch.from_numpy(lengths),
        tokens=tokens,
        features=tuple(prompts[row[0]].features for row in rows),
    )
