"""Numbers of steps in words: [1, 3], "1 and 3", "Step 1", "[Step 1]", "1-3", none, all."""

import re

from oneloop.core.text import one_line

OPEN, CLOSE = "[({", "])}"
NONE = re.compile(
    r"none|no steps?|nothing|n/a|null|empty|-\s?1|no one|none of (?:them|the steps)", re.IGNORECASE
)
ITEM = re.compile(r"(?:steps?|no\.?|number|#|s)?[\s_]*(\d{1,6})", re.IGNORECASE)
RANGE = re.compile(
    r"(?:steps?)?[\s_]*(\d{1,6})\s*(?:-|to|through)\s*(?:steps?)?[\s_]*(\d{1,6})", re.IGNORECASE
)
AND = re.compile(r"\s*(?:,\s*and\b|[,;&/]|\band\b)\s*", re.IGNORECASE)


class Unclear(ValueError):
    """A critic's reply that gives no verdict, or one that can be read in two ways; the message says why."""


def steps_of(words: str, num_steps: int, one: bool = False) -> set[int]:
    """The steps that `words` list, with or without brackets; `one`: the words before them say "step".

    Raises Unclear for anything else in the words or behind the brackets, for a step outside
    0..num_steps - 1, and for a bare 0, which may be a count.
    """
    words = words.strip().rstrip(".!;").strip()
    if words[:1] in OPEN and words:
        return whole_list(words, num_steps)
    if not words:
        raise Unclear("nothing stands behind the label of the wrong steps")
    if words == "0" and not one:
        raise Unclear("'0' without brackets may be a count or a step")
    return _inside(words, num_steps)


def whole_list(words: str, num_steps: int) -> set[int]:
    """The steps of a bracketed list that is all of `words`. Raises Unclear."""
    words = words.strip().rstrip(".!;, ")
    while words[:1] in OPEN and words[-1:] in CLOSE and words:
        if OPEN.index(words[0]) != CLOSE.index(words[-1]):
            raise Unclear(f"the brackets of {shown(words)} do not match")
        words = words[1:-1].strip().rstrip(".!").strip()
        if not words:
            return set()
        if not (words[:1] in OPEN and words[-1:] in CLOSE):
            if re.search(r"[\[\](){}]", words):
                raise Unclear(f"more than one list, or words behind it: {shown(words)}")
            return _inside(words, num_steps)
    if re.fullmatch(r"-\s?1", words):
        return set()
    raise Unclear(f"words behind the list, or no list: {shown(words)}")


def _inside(words: str, num_steps: int) -> set[int]:
    """Items between commas; none and all stand alone."""
    words = words.strip().strip("\"'").strip()
    if NONE.fullmatch(words):
        return set()
    if re.fullmatch(r"all(?: (?:of )?(?:the |these )?steps)?|every step", words, re.IGNORECASE):
        return set(range(num_steps))
    wrong: set[int] = set()
    for item in AND.split(words) if AND.search(words) else words.split(" ") if _numbers(words) else [words]:
        wrong |= _item(item.strip().strip("\"'<>").strip(), num_steps)
    return wrong


def _numbers(words: str) -> bool:
    return re.fullmatch(r"\d{1,6}(?: \d{1,6})+", words) is not None


def _item(item: str, num_steps: int) -> set[int]:
    if found := ITEM.fullmatch(item):
        return {within(int(found[1]), num_steps)}
    if (found := RANGE.fullmatch(item)) and int(found[1]) < int(found[2]):
        last = within(int(found[2]), num_steps)
        return set(range(int(found[1]), last + 1))
    raise Unclear(f"{shown(item)} is no number of a step")


def within(step: int, num_steps: int) -> int:
    """`step`, if there is one of that number. Raises Unclear otherwise."""
    if not 0 <= step < num_steps:
        raise Unclear(f"step {step} is none of the {num_steps} steps, which are numbered from 0")
    return step


def shown(words: str) -> str:
    """The beginning of some words, quoted."""
    return repr(one_line(words, 80))
