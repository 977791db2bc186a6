"""A solution's text as steps: pieces that tile it, shown to a critic between tags, mapped to tokens.

Steps end at blank lines (CAPO, arXiv 2508.02298); the separator belongs to the step before it. Blank lines
inside closed code blocks and display mathematics end nothing. A text without a separator is one step.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class SolutionStep(NamedTuple):
    """Characters start..end (end excluded) of the text."""

    start: int
    end: int


BLOCKS = re.compile(r"```.*?```|\$\$.*?\$\$|\\\[.*?\\\]", re.DOTALL)
"""Closed blocks only: one that is opened and never closed must not hide the steps after it."""
TAGS = re.compile(r"<(?=\s*/?\s*(?:step[\s_-]*\d*|problem|reference|solution)\s*/?\s*>)", re.IGNORECASE)


def split_steps(text: str, separator: str = "\n\n", shortest: int = 1) -> list[SolutionStep]:
    """The steps of `text`, in order; "".join(text[s.start:s.end] for s in steps) == text, [] for "".

    A piece with fewer than `shortest` characters that are no white space joins the step before it (the first
    one the step after it). Raises ValueError for an empty separator.
    """
    if not separator:
        raise ValueError("separator must have at least one character, got ''")
    blocks = [block.span() for block in BLOCKS.finditer(text)]
    ends = re.finditer(rf"{re.escape(separator)}(?:{re.escape(separator)}|\n)*", text)
    cuts = [cut.end() for cut in ends if not any(low < cut.start() < high for low, high in blocks)]
    return joined(text, [*cuts, len(text)], shortest)


def joined(text: str, ends: Sequence[int], shortest: int = 1) -> list[SolutionStep]:
    """Steps that end at `ends`, pieces that are too short joined to a neighbour."""
    steps: list[SolutionStep] = []
    start = 0
    for end in ends:
        long_enough = len("".join(text[start:end].split())) >= shortest
        if long_enough:
            steps.append(SolutionStep(start, end))
        elif steps:
            steps[-1] = SolutionStep(steps[-1].start, end)
        start = end if long_enough or steps else start
    return steps or ([SolutionStep(0, len(text))] if text else [])


def pieces_to_steps(text: str, pieces: Sequence[str]) -> list[SolutionStep]:
    """Steps from a splitter's `pieces`. Raises ValueError unless they are the text, cut."""
    if "".join(pieces) != text:
        raise ValueError(f"the pieces must give the text when joined; {len(pieces)} pieces do not")
    ends, reached = [], 0
    for piece in pieces:
        reached += len(piece)
        ends.append(reached)
    return joined(text, ends)


def render_tagged(text: str, steps: Sequence[SolutionStep]) -> str:
    """The steps between <step_k> tags, numbered from 0; tags that the text itself contains are disarmed."""
    shown = [TAGS.sub("&lt;", text[step.start : step.end].strip("\n")) for step in steps]
    return "\n".join(f"<step_{k}>\n{piece}\n</step_{k}>" for k, piece in enumerate(shown))


def token_steps(start: Tensor, steps: Sequence[SolutionStep]) -> Tensor:
    """int64 [T], the step of each token by its first character `start` [T]; -1 where there are no steps.

    What stands behind the last character (an end token) belongs to the last step.
    """
    if not steps:
        return torch.full_like(start, -1)
    ends = torch.tensor([step.end for step in steps])
    return torch.bucketize(start, ends, right=True).clamp(max=len(steps) - 1)
