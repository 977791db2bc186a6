"""How many characters of a text are wrong: Levenshtein's distance, and the character error rate."""

from collections.abc import Sequence


def edit_distance(first: Sequence[object], second: Sequence[object]) -> int:
    """Fewest insertions, deletions and replacements that turn one text into the other.

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def character_error_rate(read: str, text: str) -> float:
    """Edit distance over the length of `text`; above 1 where much is read that is not there.

    Raises ValueError for an empty text.
    """
    if not text:
        raise ValueError("a character error rate needs a text that is not empty")
    return edit_distance(read, text) / len(text)
