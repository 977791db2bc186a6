"""One call of the slot engine: the loop that samples a list of requests.

Each pass is one forward: a token for every live row and the whole prefix of whatever enters. A prefix that
several requests share is computed once.

    admit -> forward -> draw -> retire, until nothing is live or waiting
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oneloop.core.meter import Meter
from oneloop.engines.features import together, turned
from oneloop.engines.law import FORBIDDEN, Law, draw
from oneloop.engines.request import Groups, Progress, Reply, Request
from oneloop.engines.schedule import Admission, LiveRows, Queue
from oneloop.engines.slot_cache import SlotCache, SlotStep, bucket
from oneloop.engines.turns import StopStrings
from oneloop.engines.twin import Forward


class Slots(Protocol):
    """What a call takes from its engine."""

    slots: int
    """Most sequences sampled at once."""
    law: Law
    """The law that tokens are drawn from."""
    never: Tensor
    """int64, ids of tokens that are never drawn."""
    eos: frozenset[int]
    """Tokens that end a turn."""
    stop: StopStrings
    """Strings that end a turn."""
    model: Any
    """The network, whose device is where the work is done."""
    forward: Forward
    """Logits of tokens that enter the cache."""
    meter: Meter
    """Counts the tokens forwarded."""

    def cache(self) -> SlotCache:
        """Keys and values of the sequences in the slots."""


class SlotCall:
    """One call of an engine's `generate`: the loop, and what it remembers until the replies are made.

    R live rows   V vocabulary. in_order: complete one group after the other. `run` may be called once.
    """

    def __init__(
        self,
        engine: Slots,
        requests: Sequence[Request],
        groups: Groups,
        in_order: bool,
        progress: Progress | None,
    ) -> None:
        self.engine, self.requests, self.groups, self.progress = engine, requests, groups, progress
        self.slots = min(engine.slots, len(requests))
        self.cache = engine.cache()
        self.queue = Queue(requests, in_order)
        self.rows = LiveRows(requests, self.slots)
        self.device = next(engine.model.parameters()).device
        self.eos = np.array(sorted(engine.eos), dtype=np.int64)
        self.drawn: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        self.texts: dict[int, list[int]] = {}  # completions so far, only where stop strings are looked for
        self.status: list[Literal["stop", "length", "aborted"]] = ["aborted"] * len(requests)
        self.finished = self.tokens = 0

    def run(self) -> list[Reply]:
        """Samples until all requests have ended or enough groups are complete; replies in their order."""
        while (self.rows.count or self.queue) and not self.groups.reached:
            decoding = self.rows.count
            entries = self.queue.enter(decoding, self.slots)
            self.fit(decoding, entries)
            logits = self.forward(decoding, [entry for entry in entries if entry.fresh])
            if entries:
                logits = self.fan_out(logits, decoding, entries)
            self.sample(logits)
            self.retire()
            if self.progress is not None:
                self.progress(self.tokens, self.finished)
        return self.replies()

    def fit(self, decoding: int, entries: list[Admission]) -> None:
        """Make the cache as wide as this step's longest sequence; narrower only to save a quarter."""
        lengths = [len(entry.prefix.tokens) for entry in entries]
        if decoding:
            lengths.append(int(self.rows.length[:decoding].max()) + 1)
        width, slots = bucket(max(lengths)), decoding + sum(len(entry.rows) for entry in entries)
        if self.cache.width * 3 // 4 < width < self.cache.width:
            width = self.cache.width
        if width != self.cache.width or slots > self.cache.slots:
            self.cache.fit(slots, width, decoding)

    def forward(self, decoding: int, fresh: list[Admission]) -> Tensor:
        """Logits [R + fresh, V] after a token for each of R `decoding` rows and each fresh entry's prefix."""
        rows = self.rows
        tokens, slot = [rows.token[:decoding]], [np.arange(decoding)]
        position, spans, start = [rows.length[:decoding].copy()], [], decoding
        for entry in fresh:
            prefix = np.array(entry.prefix.tokens, dtype=np.int64)
            tokens.append(prefix)
            slot.append(np.full(len(prefix), entry.rows[0]))
            position.append(np.arange(len(prefix)))
            spans.append((start, start + len(prefix)))
            start += len(prefix)
        if start == 0:  # everything that enters was computed before
            return torch.empty(0, device=self.device)
        rows.length[:decoding] += 1
        self.engine.meter.add(start)
        ids, slots, positions = (self._tensor(np.concatenate(part)) for part in (tokens, slot, position))
        step = SlotStep(self.cache, slots, positions, decoding, spans)
        self.show(step, fresh)
        last = [*range(decoding), *(end - 1 for _, end in spans)] if fresh else None
        return self.engine.forward(ids, step, last)

    def show(self, step: SlotStep, fresh: list[Admission]) -> None:
        """Tell the model of a step which pictures the `fresh` prefixes show, and where their tokens stand."""
        shown = [entry.prefix.features for entry in fresh]
        shift = self.rows.shift[: step.rows]
        pictures = [features for features in shown if features is not None]
        if not pictures and not shift.any():
            return
        step.inputs = together(pictures, self.device, self.engine.model.dtype)
        pieces = [(step.position[: step.rows] + self._tensor(shift)).cpu()[None]]
        for (start, end), features in zip(step.spans, shown, strict=True):
            places = step.position[None, start:end].cpu()
            positions = turned(places, [features])
            pieces.append(places if positions is None else positions[:, 0])
        axes = max(piece.shape[0] for piece in pieces)
        step.turned = torch.cat([piece.expand(axes, -1) for piece in pieces], 1)[:, None].to(self.device)
        if axes == 1:  # models with one axis take [1, N]
            step.turned = step.turned[0]

    def fan_out(self, logits: Tensor, decoding: int, entries: list[Admission]) -> Tensor:
        """Give each entering member its slot and its logits, [R, V] in all; keep a prefix others wait for."""
        parts, computed = [logits[:decoding]], decoding
        for entry in entries:
            prefix, length = entry.prefix, len(entry.prefix.tokens)
            if prefix.logits is None:
                first, others, after = entry.rows[:1], entry.rows[1:], logits[computed]
                computed += 1
                if others:
                    self.cache.copy(first, others, length)
                if prefix.waiting:
                    prefix.logits, prefix.content = after.clone(), self.cache.read(first[0], length)
            else:
                assert prefix.content is not None
                self.cache.paste(prefix.content, entry.rows)
                after = prefix.logits
            parts.append(after.expand(len(entry.rows), -1))
            self.rows.add(entry)
        return torch.cat(parts)

    def sample(self, logits: Tensor) -> None:
        """Draw one token a row from logits [R, V]."""
        rows, law = self.rows, self.engine.law
        if len(self.engine.never):
            logits = logits.index_fill(1, self.engine.never, FORBIDDEN)
        logprobs = law.logprobs(logits)
        chosen = logits.argmax(dim=-1) if law.greedy else draw(logprobs, self._tensor(rows.uniforms()))
        picked = logprobs.gather(1, chosen[:, None]).squeeze(1)
        tokens, likely = chosen.cpu().numpy(), picked.cpu().numpy()
        if not np.isfinite(likely).all():
            raise ValueError(
                "the model's logits are not finite numbers: its weights have overflowed (training has "
                "diverged), or are not numbers themselves; take an earlier checkpoint, or begin again with a "
                "lower learner.learning_rate"
            )
        count = rows.count
        rows.token[:count] = tokens
        rows.sampled[:count] += 1
        self.tokens += count
        self.drawn.append((rows.request[:count].copy(), tokens, likely))

    def retire(self) -> None:
        """Let the rows go that have ended, and close the gaps."""
        rows = self.rows
        count = rows.count
        stopped = (rows.token[:count, None] == self.eos).any(axis=1)
        if self.engine.stop:
            stopped |= self.stop_strings(count)
        ended = stopped | (rows.sampled[:count] >= rows.limit[:count])
        if not ended.any():
            return
        for row in np.flatnonzero(ended):
            place = int(rows.request[row])
            self.status[place] = "stop" if stopped[row] else "length"
            self.groups.finish(self.requests[place].group)
        self.finished += int(ended.sum())
        sources, targets = rows.drop(ended)
        if sources:
            self.cache.copy(sources, targets, int(rows.length[targets].max()))

    def stop_strings(self, count: int) -> NDArray[np.bool_]:
        """Which rows [R] have just completed a stop string."""
        found = np.zeros(count, dtype=np.bool_)
        for row in range(count):
            place = int(self.rows.request[row])
            completion = self.texts.setdefault(place, list(self.requests[place].partial))
            completion.append(int(self.rows.token[row]))
            found[row] = self.engine.stop.ended(completion)
        return found

    def _tensor(self, array: NDArray[np.int64] | NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def replies(self) -> list[Reply]:
        """Sort what was drawn, step by step, into one reply a request."""
        owners, tokens, logprobs = (np.concatenate(column) for column in zip(*self.drawn, strict=True))
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(np.bincount(owners, minlength=len(self.requests)))[:-1]
        parts = zip(np.split(tokens[order], ends), np.split(logprobs[order], ends), self.status, strict=True)
        return [Reply(tuple(ids.tolist()), values, status) for ids, values, status in parts]
