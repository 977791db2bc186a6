"""The slot engine: continuous batching for any in-process Hugging Face causal language model.

Rows leave the moment they end and new requests take their slots (the loop is in slot_call.py). A request's
tokens are a function of its key, its prefix and the weights; batch, order and interruption cannot change them
(up to the last bits of floating point).
Not here: text (except to find stop strings), rollouts, remote servers (server.py)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from oneloop.core.meter import Meter
from oneloop.engines.law import Law
from oneloop.engines.request import Groups, Progress, Reply, Request, check
from oneloop.engines.slot_cache import SlotCache
from oneloop.engines.slot_call import SlotCall
from oneloop.engines.turns import StopStrings
from oneloop.engines.twin import context_window, twin, unwrapped


class SlotEngine:
    """Samples completions from `model`, whose own mode, configuration and attention stay as they are.

    model: any causal language model that takes its attention from transformers' AttentionInterface, LoRA of
    PEFT included, already on its device. eos: token ids that end a turn (see `turns.eos_ids`). stop: strings
    that end it, found in what `decode` makes of the completion. slots: rows sampled at once. dtype: None
    shares the model's parameters, whoever changes them; another floating type keeps a copy, brought up to
    date by `refresh`. autocast: the model is trained in bf16 autocast, so its products may be made in bf16
    here too. meter: counts the tokens forwarded. never: token ids that are never sampled.
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
        autocast: bool = False,
        meter: Meter | None = None,
        never: Collection[int] = (),
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots: got {slots}, must be at least 1")
        self.law, self.slots, self.eos = law, slots, frozenset(int(token) for token in eos)
        self.stop = StopStrings(stop, decode)
        self._sources: list[Tensor] = list(unwrapped(model).parameters())
        self.positions = context_window(model)
        self._second, self.forward = twin(unwrapped(model), dtype, autocast)
        self.model = self._second.model
        on_cpu = self._sources[0].device.type == "cpu"  # where layouts are made of shared weights
        self._watched = self._sources if dtype is None and (on_cpu or self._second.own) else []
        self._seen: list[float] | None = self._first_numbers()
        self._cache: SlotCache | None = None
        self.never = torch.tensor(sorted(never), dtype=torch.long, device=self._sources[0].device)
        self.meter = meter or Meter()

    def refresh(self) -> None:
        """Take over the training model's weights after an update: its copies, and layouts made of them."""
        self._second.refresh()
        with torch.no_grad():
            self.forward.refresh()
        self._seen = self._first_numbers()

    def free(self) -> None:
        """Give back the memory of layouts and cache while weights change; the next call makes them again."""
        if self._seen is not None:
            self.forward.free()
            self._seen = self._cache = None

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
                    replies = SlotCall(self, requests, groups, in_order=in_order, progress=progress).run()
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
