"""Trees of tokens in one forward pass: what leaves share is an input once.

    R packed rows   T longest   s sequences (leaves)   L longest of them

    prompt | token | token | ...        a token sees the prompt, the tokens above it in its tree, and itself

Eight leaves of 26 tokens that part at tokens 4, 11 and 18 forward 4 + 7 * 2 + 7 * 4 + 7 * 8 tokens, not
8 * 25. Leaves with one prompt share a row while their whole lengths would fit its width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oneloop.sample.policies.tokens.packing import Packed, Prompt, shared_rows


@dataclass(frozen=True)
class PackedTrees(Packed):
    """Packed rows of trees; `segment` only tells that there is more than one branch."""

    above: Tensor
    """int64 [R, T], the column of the token before; -1 at the start and for padding."""
    column: Tensor
    """int64 [s, L], where each token of a sequence went, as far as it is an input."""

    @property
    def shares(self) -> bool:
        """Always: positions do not follow columns."""
        return True

    def place(self, sequence: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(row [a], column [a]) whose output predicts the token at `depth` [a] of `sequence` [a]."""
        before = self.column[sequence, (depth - 1).clamp(min=0)]
        return self.row[sequence], torch.where(depth == 0, self.prompt[sequence] - 1, before)

    def mask(self, dtype: torch.dtype) -> Tensor:
        """[R, 1, T, T], added to attention scores: 0 for a token's own path, very negative elsewhere."""
        above = self.above.numpy()
        rows, width = above.shape
        seen = np.zeros((rows, width, width), dtype=bool)
        every = np.arange(rows)
        for column in range(width):
            has = above[:, column] >= 0
            seen[has, column] = seen[every[has], above[has, column]]
            seen[:, column, column] = True
        allowed = torch.from_numpy(seen)
        return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


def pack_trees(
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[int]],
    actions: Sequence[Sequence[int]],
    width: int,
) -> PackedTrees:
    """Lays out `completions` after their `prompts`; tokens of equal number in `actions` are one token.

    The last token of a completion is never an input: nothing is predicted from it.
    """
    rows = [row for row, _ in shared_rows(prompts, [len(tokens) - 1 for tokens in completions], width)]
    longest = max(len(tokens) for tokens in completions)
    column = np.zeros((len(prompts), longest), dtype=np.int64)
    of_row = np.zeros(len(prompts), dtype=np.int64)
    laid: list[list[tuple[int, int, int]]] = []
    for r, row in enumerate(rows):
        prompt = prompts[row[0]].ids
        cells = [(token, place, place - 1) for place, token in enumerate(prompt)]  # id, position, above
        known: dict[int, int] = {}
        for index in row:
            of_row[index], above = r, len(prompt) - 1
            for depth, token in enumerate(completions[index][:-1]):
                number = actions[index][depth]
                if number not in known:
                    known[number] = len(cells)
                    cells.append((token, len(prompt) + depth, above))
                above = column[index, depth] = known[number]
        laid.append(cells)
    widest = max(map(len, laid))
    table = np.zeros((3, len(laid), widest), dtype=np.int64)
    table[2] = -1
    for r, cells in enumerate(laid):
        table[:, r, : len(cells)] = np.array(cells).T
    ids, positions, parents = (torch.from_numpy(piece) for piece in table)
    lengths = torch.tensor([len(prompt.ids) for prompt in prompts])
    nothing = torch.zeros_like(lengths)
    return PackedTrees(
        ids,
        positions,
        torch.zeros_like(ids),
        torch.from_numpy(of_row),
        nothing,
        lengths,
        sum(map(len, laid)),
        tuple(prompts[row[0]].features for row in rows),
        parents,
        torch.from_numpy(column),
    )
