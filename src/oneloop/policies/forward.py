"""One forward pass of a causal language model at chosen positions, and log-probs without full logits.

    R sequences   T longest   a chosen positions   H hidden   V vocabulary

Sequences are padded on the right and never masked: attention is causal, so padding cannot reach back.
The head runs only on the a chosen positions. When a x V is large, log-probs and entropy are computed in
chunks that are recomputed in the backward pass, so that no fp32 logits of the whole batch ever exist.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from oneloop.engines.law import Law

CHUNK = 1 << 24
"""Logits held at once when chunking (64 MiB in fp32)."""


class CausalForward:
    """Hidden states and head of any Hugging Face causal model, PEFT-wrapped or not.

    The split is checked once, against the model's own logits, when this is made; a model whose logits
    are more than its head (an unknown scaling) is refused with ValueError.
    """

    def __init__(self, model: nn.Module, autocast: bool):
        self.model, self.autocast = model, autocast
        inner = base_model(model)
        self.backbone = inner.base_model
        self.output_layer = inner.get_output_embeddings()
        self.vocabulary = int(self.output_layer.weight.shape[0])
        self.softcap = getattr(inner.config, "final_logit_softcapping", None)
        self._check()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def precision(self) -> AbstractContextManager[Any]:
        """bf16 autocast, or nothing."""
        if not self.autocast:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def hidden(self, sequences: Sequence[Sequence[int]], row: Tensor, position: Tensor) -> Tensor:
        """[a, H]: last hidden states of `sequences` at (row [a], position [a])."""
        ids = torch.from_numpy(pad_right(sequences)).to(self.device)
        with self.precision():
            states = self.backbone(input_ids=ids, use_cache=False).last_hidden_state
        chosen: Tensor = states[row.to(self.device), position.to(self.device)]
        return chosen

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [a, V] of hidden states [a, H]."""
        with self.precision():
            logits: Tensor = self.output_layer(hidden)
            return torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits

    @torch.no_grad()
    def _check(self) -> None:
        ids = torch.arange(3)[None].to(self.device)
        with self.precision():
            whole = self.model(input_ids=ids, use_cache=False).logits[0].float()
        split = self.head(self.hidden([[0, 1, 2]], torch.zeros(3, dtype=torch.long), torch.arange(3))).float()
        if not torch.allclose(whole, split, rtol=1e-3, atol=1e-3):
            name = type(self.model).__name__
            raise ValueError(
                f"{name} does more to its logits than its output layer; this model is not supported yet"
            )


def base_model(model: Any) -> Any:
    """The causal model inside PEFT's wrapper, if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def pad_right(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """int64 [R, T], zeros on the right."""
    ids = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids


def token_logprobs(
    hidden: Tensor, head: Callable[[Tensor], Tensor], tokens: Tensor, law: Law, vocabulary: int
) -> tuple[Tensor, Tensor]:
    """(logprob [a], entropy [a]) of `tokens` [a] under `law`, in chunks recomputed in the backward pass."""
    width = max(1, CHUNK // vocabulary)

    def chunk(states: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        return chosen_logprob(head(states), chosen, law)

    pieces = [
        checkpoint(chunk, states, chosen, use_reentrant=False)
        for states, chosen in zip(hidden.split(width), tokens.split(width), strict=True)
    ]
    logprobs, entropies = zip(*pieces, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def chosen_logprob(logits: Tensor, tokens: Tensor, law: Law) -> tuple[Tensor, Tensor]:
    """(logprob [a], entropy [a]) in fp32 of `tokens` [a] under `law`, given logits [a, V].

    Under top-k, top-p or min-p the weights may have moved since the token was drawn, so that it falls
    out of the kept set; it is put back: the law is renormalised over what is kept now and the token.
    """
    logits = logits.float()
    if law.temperature not in (0, 1):
        logits = logits / law.temperature
    if law.truncates:
        kept = law.kept(logits).scatter(1, tokens[:, None], True)
        logits = logits.masked_fill(~kept, float("-inf"))
    logprobs = torch.log_softmax(logits, dim=-1)
    chosen = logprobs.gather(1, tokens[:, None]).squeeze(1)
    entropy = -(logprobs.exp() * logprobs.nan_to_num(neginf=0.0)).sum(-1)
    return chosen, entropy
