"""The slot engine: continuous batching for any in-process Hugging Face causal language model.

Each pass of the loop is one forward: a token for every live row and the whole prefix of whatever enters. Rows
leave the moment they end, new requests take their slots, and a prefix that several share is computed once.
    admit -> forward -> draw -> retire, until nothing is live or waiting
A request's tokens are a function of its key, its prefix and the weights; batch, order and interruption cannot
change them (up to the last bits of floating point).
Not here: text (except to find stop strings), rollouts, remote servers (server.py)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from oneloop.core.meter import Meter
from oneloop.engines.law import Law, draw
from oneloop.engines.request import Groups, Progress, Reply, Request, check
from oneloop.engines.schedule import Entry, Queue, Rows
from oneloop.engines.slot_cache import SlotCache, Step, bucket
from oneloop.engines.turns import StopStrings
from oneloop.engines.twin import context_window, twin, unwrapped


class SlotEngine:
    """Samples completions from `model`, whose own mode, configuration and attention stay as they are.

    model: any causal language model that takes its attention from transformers' AttentionInterface, LoRA of
    PEFT included, already on its device. eos: token ids that end a turn (see `turns.eos_ids`). stop: strings
    that end it, found in what `decode` makes of the completion. slots: rows sampled at once. dtype: None
    shares the model's parameters, whoever changes them; another floating type keeps a copy, brought up to
    date by `refresh`. meter: counts the tokens forwarded.
    Raises ValueError for a model whose logits it cannot reproduce: this is tried on a few tokens when built.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        eos: Collection[int],
        law: Law = Law(),  # noqa: B008 (frozen)
        stop: Sequence[str] = (),
        decode: Callable[[Sequence[int]], str] | None = None,
        slots: int = 256,
        dtype: torch.dtype | None = None,
        meter: Meter | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots: got {slots}, must be at least 1")
        self.law, self.slots, self.eos = law, slots, frozenset(int(token) for token in eos)
        self.stop = StopStrings(stop, decode)
        self._sources: list[Tensor] = list(unwrapped(model).parameters())
        self.positions = context_window(model)
        self._second, self.forward = twin(unwrapped(model), dtype)
        self.model = self._second.model
        on_cpu = self._sources[0].device.type == "cpu"  # where layouts are made of shared weights
        self._watched = self._sources if dtype is None and (on_cpu or self._second.own) else []
        self._seen = self._first_numbers()
        self._cache: SlotCache | None = None
        self.meter = meter or Meter()

    def refresh(self) -> None:
        """Take over the training model's weights after an update: its copies, and layouts made of them."""
        self._second.refresh()
        with torch.no_grad():
            self.forward.refresh()
        self._seen = self._first_numbers()

    def _first_numbers(self) -> list[float]:
        """The first number of each watched parameter: an update hardly ever moves none of them."""
        first = [weight.detach().reshape(-1)[:1].double() for weight in self._watched]
        return torch.cat(first).tolist() if first else []

    def generate(
        self, requests: Sequence[Request], enough: int | None = None, progress: Progress | None = None
    ) -> list[Reply]:
        """Sample every request; replies in the order of requests.

        enough: once so many groups of this call are complete, what still runs is aborted with what it has.
        progress(tokens so far, requests finished so far) is called after every step.
        Raises ValueError for requests that cannot be sampled (see `request.check`).
        """
        check(requests, self.positions, self.eos)
        if self._first_numbers() != self._seen:
            self.refresh()
        groups = Groups(requests, enough)
        if not requests:
            return []
        replies = None
        while replies is None:
            try:
                with torch.inference_mode():
                    in_order = enough is not None
                    replies = _Call(self, requests, groups, in_order=in_order, progress=progress).run()
            except torch.OutOfMemoryError:
                if min(self.slots, len(requests)) == 1:
                    raise
            if replies is None:  # outside of `except`, which holds on to the tensors of the failed call
                groups = Groups(requests, enough)
                self._halve_slots(len(requests))
        return replies

    def _halve_slots(self, requests: int) -> None:
        self.slots, self._cache = min(self.slots, requests) // 2, None
        torch.cuda.empty_cache()
        warnings.warn(
            f"out of memory while sampling: {self.slots} sequences at a time from now on, with the same "
            "result (policy.language.slots)",
            stacklevel=3,
        )

    def cache(self) -> SlotCache:
        """The cache for one call: on a CPU always the same one, because fresh memory is slow there."""
        if self.model.device.type != "cpu":
            return SlotCache(self.model.dtype)
        if self._cache is None:
            self._cache = SlotCache(self.model.dtype)
        return self._cache


class _Call:
    """One call of `generate`: the loop and what it remembers."""

    def __init__(
        self,
        engine: SlotEngine,
        requests: Sequence[Request],
        groups: Groups,
        in_order: bool,
        progress: Progress | None,
    ) -> None:
        self.engine, self.requests, self.groups, self.progress = engine, requests, groups, progress
        self.slots = min(engine.slots, len(requests))
        self.cache = engine.cache()
        self.queue = Queue(requests, in_order)
        self.rows = Rows(requests, self.slots)
        self.device = next(engine.model.parameters()).device
        self.eos = np.array(sorted(engine.eos), dtype=np.int64)
        self.drawn: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        self.texts: dict[int, list[int]] = {}  # completions so far, only where stop strings are looked for
        self.status: list[Literal["stop", "length", "aborted"]] = ["aborted"] * len(requests)
        self.finished = self.tokens = 0

    def run(self) -> list[Reply]:
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

    def fit(self, decoding: int, entries: list[Entry]) -> None:
        """Make the cache as wide as this step's longest sequence; narrower only to save a quarter."""
        lengths = [len(entry.prefix.tokens) for entry in entries]
        if decoding:
            lengths.append(int(self.rows.length[:decoding].max()) + 1)
        width, slots = bucket(max(lengths)), decoding + sum(len(entry.rows) for entry in entries)
        if self.cache.width * 3 // 4 < width < self.cache.width:
            width = self.cache.width
        if width != self.cache.width or slots > self.cache.slots:
            self.cache.fit(slots, width, decoding)

    def forward(self, decoding: int, fresh: list[Entry]) -> Tensor:
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
        ids, slots, positions = (self.tensor(np.concatenate(part)) for part in (tokens, slot, position))
        step = Step(self.cache, slots, positions, decoding, spans)
        last = [*range(decoding), *(end - 1 for _, end in spans)] if fresh else None
        return self.engine.forward(ids, step, last)

    def fan_out(self, logits: Tensor, decoding: int, entries: list[Entry]) -> Tensor:
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
        logprobs = law.logprobs(logits)
        chosen = logits.argmax(dim=-1) if law.greedy else draw(logprobs, self.tensor(rows.uniforms()))
        picked = logprobs.gather(1, chosen[:, None]).squeeze(1)
        tokens, likely = chosen.cpu().numpy(), picked.cpu().numpy()
        if not np.isfinite(likely).all():
            raise ValueError(
                "the model's logits are not finite numbers: its weights have overflowed, or are not numbers "
                "themselves; take an earlier checkpoint, or begin again with a lower learning rate"
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

    def tensor(self, array: NDArray[np.int64] | NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def replies(self) -> list[Reply]:
        """Sort what was drawn, step by step, into one reply a request."""
        owners, tokens, logprobs = (np.concatenate(column) for column in zip(*self.drawn, strict=True))
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(np.bincount(owners, minlength=len(self.requests)))[:-1]
        parts = zip(np.split(tokens[order], ends), np.split(logprobs[order], ends), self.status, strict=True)
        return [Reply(tuple(ids.tolist()), values, status) for ids, values, status in parts]
