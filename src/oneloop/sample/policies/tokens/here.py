"""Actions of a language policy under the present weights, answered lazily from one forward pass."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from oneloop.engines.law import Law
from oneloop.sample.policies.tokens.flat import Flat
from oneloop.sample.policies.tokens.forward import CHUNK, CausalForward, chosen_logprob, token_logprobs
from oneloop.sample.policies.tokens.packing import Packed


class TokenLaw(Protocol):
    """What is needed to compute log-probs of tokens: a sampling law and forward passes."""

    law: Law
    """The sampling law: how tokens are drawn, given logits."""

    @property
    def forward(self) -> CausalForward:
        """The forward pass under the present weights."""

    @property
    def reference(self) -> CausalForward:
        """The forward pass of the reference."""


class TokenHere:
    """`protocols.Here` for chosen tokens [a] of some sequences; each answer costs at most one forward."""

    def __init__(
        self, weights: TokenLaw, packed: Packed | Flat, sequence: Tensor, depth: Tensor, tokens: Tensor
    ):
        self.weights, self.forward, self.packed = weights, weights.forward, packed
        self.sequence, self.depth = sequence, depth
        self.tokens = tokens.to(self.forward.device)

    @cached_property
    def hidden(self) -> Tensor:
        """[a, H], the one forward pass."""
        return self.forward.hidden(self.packed, self.sequence, self.depth)

    def first(self) -> TokenHere:
        """The first action alone, from the same forward pass."""
        made = TokenHere(self.weights, self.packed, self.sequence[:1], self.depth[:1], self.tokens[:1])
        made.__dict__["hidden"] = self.hidden[:1]
        return made

    @cached_property
    def logits(self) -> Tensor:
        """[a, V], untempered."""
        return self.forward.head(self.hidden)

    @cached_property
    def _scores(self) -> tuple[Tensor, Tensor]:
        law = self.weights.law
        if self.forward.vocabulary * len(self.tokens) > CHUNK and "logits" not in self.__dict__:
            return token_logprobs(self.hidden, self.forward.head, self.tokens, law, self.forward.vocabulary)
        return chosen_logprob(self.logits, self.tokens, law)

    @property
    def logprob(self) -> Tensor:
        """[a], under the sampling law."""
        return self._scores[0]

    @property
    def entropy(self) -> Tensor:
        """[a], of the sampling law."""
        return self._scores[1]

    @property
    def output(self) -> Tensor:
        """Refused: tokens are not differentiable."""
        raise TypeError(
            "a language policy has no differentiable output; reward back-propagation needs a flow policy"
        )

    def rendered(self, calls: int) -> Tensor:
        """Refused: tokens are not differentiable."""
        return self.output

    @cached_property
    def reference(self) -> Tensor:
        """[a], log-probability under the policy's reference, no gradient."""
        forward = self.weights.reference
        with torch.no_grad():
            hidden = forward.hidden(self.packed, self.sequence, self.depth)
            return token_logprobs(hidden, forward.head, self.tokens, self.weights.law, forward.vocabulary)[0]
