"""Which request enters when, and which rows are live.

Requests that share a prefix (prompt + partial) are kept together, so that the prefix is computed once however
the slots fall. Order: as asked when sampling may stop early (`enough`), else longest allowance first, because
a long completion started last would run alone at the end.
Not here: tensors of the model (slots.py, slot_cache.py)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from oneloop.core.draws import uniforms
from oneloop.engines.features import Features
from oneloop.engines.request import Request

PREFILL_TOKENS = 8192  # most prompt tokens in one forward, beyond the first sequence
DRAWN_AHEAD = 32  # random numbers a row has in store: hashing them one by one takes as long as a draw


@dataclass(eq=False)
class Prefix:
    """One distinct prompt + partial, and the requests that still wait to start from it."""

    tokens: tuple[int, ...]
    waiting: deque[int]
    """Places of the requests in the call."""
    features: Features | None = None
    """Pictures its placeholders stand for."""
    logits: Tensor | None = None
    """[V] after the last token, and below the slot's content: kept only while requests wait for a slot."""
    content: list[Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Admission:
    """Members of one prefix that enter now, in consecutive rows."""

    prefix: Prefix
    members: list[int]
    rows: list[int]

    @property
    def fresh(self) -> bool:
        """Whether the prefix has yet to be computed."""
        return self.prefix.logits is None


class Queue:
    """Requests that have no slot yet, by prefix."""

    def __init__(self, requests: Sequence[Request], in_order: bool) -> None:
        prefixes: dict[tuple[tuple[int, ...], Features | None], Prefix] = {}
        for place, request in enumerate(requests):
            tokens = (*request.prompt, *request.partial)
            new = Prefix(tokens, deque(), request.features)
            prefixes.setdefault((tokens, request.features), new).waiting.append(place)
        ordered = list(prefixes.values())
        if not in_order:
            allowance = [request.limit - len(request.partial) for request in requests]
            ordered.sort(key=lambda prefix: -max(allowance[place] for place in prefix.waiting))
        self._prefixes = deque(ordered)

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def enter(self, first: int, slots: int) -> list[Admission]:
        """Fill rows first..slots-1 as far as the queue and the prefill budget reach."""
        entries: list[Admission] = []
        budget = PREFILL_TOKENS
        while self._prefixes and first < slots:
            prefix = self._prefixes[0]
            if prefix.logits is None:
                if entries and len(prefix.tokens) > budget:
                    break
                budget -= len(prefix.tokens)
            count = min(len(prefix.waiting), slots - first)
            members = [prefix.waiting.popleft() for _ in range(count)]
            entries.append(Admission(prefix, members, list(range(first, first + count))))
            first += count
            if not prefix.waiting:
                self._prefixes.popleft()
        return entries


class LiveRows:
    """The live rows, dense from 0: plain arrays, one entry a row."""

    def __init__(self, requests: Sequence[Request], slots: int) -> None:
        self._requests = requests
        self._keys = np.array([request.key % 2**64 for request in requests], dtype=np.uint64)
        self.count = 0
        self.request: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        """Index of each row's request in the call."""
        self.length: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        """Filled positions in each row's slot."""
        self.sampled: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        """Completion tokens so far, partial ones included."""
        self.limit: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        self.token: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        """Newest token of each row, not yet in its slot."""
        self.shift: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        """What is added to a place in the slot for the position the model sees (`Features.shift`)."""
        self._ahead: NDArray[np.float64] = np.empty((DRAWN_AHEAD, 0))
        """[next tokens, R]: numbers of the live rows, `_used` of them used."""
        self._used = DRAWN_AHEAD

    def add(self, entry: Admission) -> None:
        """Append an entry's members behind the live rows."""
        for row, place in zip(entry.rows, entry.members, strict=True):
            request = self._requests[place]
            self.request[row], self.length[row] = place, len(entry.prefix.tokens)
            self.sampled[row], self.limit[row] = len(request.partial), request.limit
            self.shift[row] = request.features.shift if request.features else 0
        self.count += len(entry.rows)
        self._used = DRAWN_AHEAD

    def uniforms(self) -> NDArray[np.float64]:
        """One number in [0, 1) a row, for its next token; to be asked once a token."""
        if self._used == DRAWN_AHEAD:
            tokens = self.sampled[: self.count] + np.arange(DRAWN_AHEAD)[:, None]
            self._ahead, self._used = uniforms(self._keys[self.request[: self.count]], tokens), 0
        numbers: NDArray[np.float64] = self._ahead[self._used]
        self._used += 1
        return numbers

    def drop(self, ended: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
        """Remove the rows marked in `ended` [R]; the last live rows take their places.

        Gives the rows moved and where to: (sources, targets), for the cache to follow.
        """
        left = int((~ended).sum())
        targets = np.flatnonzero(ended[:left])
        sources = left + np.flatnonzero(~ended[left:])
        for column in (self.request, self.length, self.sampled, self.limit, self.token, self.shift):
            column[targets] = column[sources]
        if self._used < DRAWN_AHEAD:
            self._ahead[:, targets] = self._ahead[:, sources]
            self._ahead = self._ahead[:, :left]
        self.count = left
        return sources.tolist(), targets.tolist()
