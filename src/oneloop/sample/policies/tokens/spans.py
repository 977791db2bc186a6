"""Which characters of a rollout's text each sampled token wrote: the map from steps of a text to actions.

    text = decode(ids)      span[t] = (start, end) of token t in it

The sampled ids are decoded one by one; text is never encoded again, because encoding a text need not give
back the ids that were sampled. Special tokens are written like any other (`<think>`), because judges must see
what was sampled; tokens that are to write nothing (the end of a turn, padding) have an empty span where they
stand. Tokens that share one character (bytes of it) share its span. Where a decoder is not incremental
(clean-up of spaces, word pieces), a token owns the characters by which the decoded prefix agrees with more of
the text than before: slower, and right for every tokenizer.
"""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

Span = tuple[int, int]
UNFINISHED = "\ufffd"
"""What a decoder writes for bytes that are no character, or none yet."""


def token_spans(tokenizer: Any, ids: Sequence[int], silent: frozenset[int]) -> tuple[str, list[Span]]:
    """(text, one (start, end) for each of `ids`): those in `silent` write nothing.

    Spans never overlap but where tokens share a character, follow the order of the tokens and cover the text.
    """
    spoken = [token for token in ids if token not in silent]
    text = str(tokenizer.decode(spoken, skip_special_tokens=False))
    pieces = _streamed(tokenizer, spoken)
    if pieces is None or not text.startswith("".join(piece or "" for piece in pieces)):
        pieces = _by_prefix(tokenizer, spoken, text)
    spans = iter(_ends(pieces, len(text)))
    found: list[Span] = []
    for token in ids:
        place = found[-1][1] if found else 0
        found.append((place, place) if token in silent else next(spans))
    return text, found


def cut(text: str, spans: Sequence[Span], stop: Sequence[str]) -> tuple[str, list[Span]]:
    """`text` up to the first of the texts `stop`, and the spans within that."""
    ends = [place for each in stop if (place := text.find(each)) >= 0]
    end = min(ends, default=len(text))
    return text[:end], [(min(start, end), min(stop_at, end)) for start, stop_at in spans]


def _streamed(tokenizer: Any, ids: Sequence[int]) -> list[str | None] | None:
    """What each token adds, None where it only begins a character; None for slow tokenizers."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not ids:
        return None if backend is None else []
    stream = DecodeStream(skip_special_tokens=False)
    try:
        return [stream.step(backend, token) for token in ids]
    except Exception:  # the library's own error for a decoder whose prefixes do not nest
        return None


def _by_prefix(tokenizer: Any, ids: Sequence[int], text: str) -> list[str | None]:
    """What each token adds, from decoded prefixes: works for every decoder."""
    pieces: list[str | None] = []
    reached = 0
    for count in range(1, len(ids) + 1):
        prefix = str(tokenizer.decode(ids[:count], skip_special_tokens=False)).rstrip(UNFINISHED)
        agreed = reached
        if prefix.startswith(text[:reached]):
            agreed += _agreement(prefix[reached:], text[reached:])
        pieces.append(text[reached:agreed] or None)
        reached = agreed
    return pieces


def _agreement(one: str, other: str) -> int:
    """Length of the common prefix."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def _ends(pieces: Sequence[str | None], size: int) -> list[Span]:
    """Spans from what each token adds; tokens that add nothing yet share the span of the one that does."""
    spans: list[Span] = []
    place = waiting = 0
    for piece in pieces:
        if not piece:
            waiting += 1
            continue
        end = place + len(piece)
        spans += [(place, end)] * (waiting + 1)
        place, waiting = end, 0
    if waiting:  # bytes that never became a character
        spans += [(place, size)] * waiting
    elif spans and place < size:
        spans[-1] = (spans[-1][0], size)
    return spans
