"""Codes as text, a character each, so that a language model writes images.

Code i is the character U+E000 + i, of Unicode's private area: no prompt has it, and 6400 codes fit.
"""

import torch
from torch import Tensor

FIRST, MOST = 0xE000, 6400


def as_text(indices: Tensor) -> str:
    """The text of codes [K].

    >>> [hex(ord(character)) for character in as_text(torch.tensor([0, 255]))]
    ['0xe000', '0xe0ff']
    """
    return "".join(chr(FIRST + int(code)) for code in indices)


def alphabet(codes: int) -> str:
    """The characters of so many codes. Raises ValueError where they are more than Unicode has room for."""
    if codes > MOST:
        raise ValueError(f"a text can hold {MOST} codes, but the codebook has {codes}")
    return "".join(chr(FIRST + code) for code in range(codes))


def from_text(text: str, codes: int, most: int) -> Tensor:
    """int64 [K], the codes with which `text` begins, `most` at most; empty where it begins with none.

    >>> from_text(as_text(torch.tensor([3, 1, 2])) + "end", 4, 8).tolist()
    [3, 1, 2]
    """
    found = []
    for character in text[:most]:
        code = ord(character) - FIRST
        if not 0 <= code < codes:
            break
        found.append(code)
    return torch.tensor(found, dtype=torch.long)
