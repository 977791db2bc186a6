"""Writers are split from writers and words from words, by their names alone: rows of any seed agree on it.

writers   the share `unseen` of them, at least one, in the order of a hash of their names
words     those whose hash is below the share `held_out`; letters of both cases count as one word
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from oneloop.core import draws

Writers = Literal["seen", "unseen", "all"]
Vocabulary = Literal["known", "held_out", "all"]


def chosen_writers(names: Iterable[str], which: Writers, unseen: float) -> list[str]:
    """Names of the writers of a split, sorted. Raises ValueError when it has none."""
    known = sorted(set(names))
    ranked = sorted(known, key=lambda name: int(draws.mix("writer", name)))
    count = min(len(known) - 1, max(1, round(unseen * len(known)))) if unseen else 0
    hidden = set(ranked[: max(0, count)])
    found = [name for name in known if which == "all" or (name in hidden) == (which == "unseen")]
    if not found:
        raise ValueError(f"writers: none is {which}, of {len(known)} with unseen: {unseen:g}")
    return found


def is_held_out_word(word: str, share: float) -> bool:
    """Whether `word` is among the `share` of all words that no training row shows."""
    bits = draws.mix("vocabulary", word.casefold()) >> np.uint64(11)
    return float(bits) * 2.0**-53 < share


def in_vocabulary(word: str, which: Vocabulary, held_out: float) -> bool:
    """Whether `word` may be a target in the vocabulary `which`."""
    return which == "all" or is_held_out_word(word, held_out) == (which == "held_out")
