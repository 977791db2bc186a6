"""The sampling law: the distribution a token is drawn from, and its exact log-probabilities.

Order of the steps, as in transformers: temperature, top-k, top-p, min-p, renormalise over what is kept.
The log-probs stored with a rollout must be those of this law (Yao et al. 2025, "Your efficient RL framework
secretly brings you off-policy RL training"), so one function serves the draw and the report.
Not here: penalties and grammars."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FORBIDDEN = -1e9
"""Logit of a token that is never sampled: its probability is 0, and 0 times it is 0 in an entropy."""


@dataclass(frozen=True)
class Law:
    """A sampling law over the vocabulary; immutable, hashable, checked when made (ValueError)."""

    temperature: float = 1.0
    """Divides the logits; 0 is greedy: the most likely token, reported with its untempered log-prob."""
    top_k: int = 0
    """Keeps the k most likely tokens (ties with the k-th are kept); 0 keeps all."""
    top_p: float = 1.0
    """Keeps the smallest set of most likely tokens whose probability reaches p; 1 keeps all."""
    min_p: float = 0.0
    """Keeps tokens at least min_p times as likely as the most likely one; 0 keeps all."""

    def __post_init__(self) -> None:
        _within("temperature", self.temperature, 0.0, float("inf"), "a finite number >= 0 (0: greedy)")
        if not isinstance(self.top_k, int) or isinstance(self.top_k, bool) or self.top_k < 0:
            raise ValueError(f"law.top_k: got {self.top_k!r}, must be an integer >= 0 (0: keep all tokens)")
        _within("top_p", self.top_p, 0.0, 1.0, "a number > 0 and <= 1 (1: keep all tokens)", open_below=True)
        _within("min_p", self.min_p, 0.0, 1.0, "a number >= 0 and <= 1 (0: keep all tokens)")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        """Whether some tokens may be left out, their log-prob -inf."""
        return not self.greedy and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)

    def logprobs(self, logits: Tensor) -> Tensor:
        """Log-probabilities [..., V] in fp32 of the law sampled from, given logits [..., V]; differentiable.

        Tokens left out by top-k, top-p or min-p get -inf and the others are renormalised.
        At temperature 0 the log-softmax of the logits as they are: greedy choice has no density of its own.
        """
        logits = logits.float()
        if self.temperature not in (0, 1):
            logits = logits / self.temperature
        if self.truncates:
            logits = logits.masked_fill(~self.kept(logits), float("-inf"))
        return torch.log_softmax(logits, dim=-1)

    @torch.no_grad()
    def kept(self, logits: Tensor) -> Tensor:
        """Which tokens [..., V] (bool) may be drawn, given logits [..., V] divided by the temperature."""
        kept = torch.ones_like(logits, dtype=torch.bool)
        if 0 < self.top_k < logits.shape[-1]:
            kept &= logits >= logits.topk(self.top_k, dim=-1).values[..., -1:]
        if self.top_p < 1:
            kept &= self._nucleus(logits.masked_fill(~kept, float("-inf")))
        if self.min_p > 0:
            kept &= logits >= logits.amax(-1, keepdim=True) + math.log(self.min_p)
        return kept

    def _nucleus(self, logits: Tensor) -> Tensor:
        """Tokens whose more likely companions hold less than top_p of the mass (Holtzman et al. 2020)."""
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probability = ordered.softmax(dim=-1)
        before = probability.cumsum(dim=-1) - probability
        inside = before < self.top_p
        inside[..., 0] = True
        return torch.zeros_like(inside).scatter(-1, order, inside)


def draw(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """Inverse-CDF draw: the first token whose cumulative probability exceeds u, never one of probability 0.

    logprobs [rows, V], uniforms [rows] in [0, 1) -> token ids [rows]. The sum runs in fp64: in fp32 its last
    steps are coarser than the tail of a 150,000-token vocabulary.
    """
    cumulative = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
    target = uniforms.to(cumulative)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    return drawn.clamp_(max=logprobs.shape[-1] - 1)  # beyond the last where log-probs are not numbers


def _within(name: str, value: float, low: float, high: float, allowed: str, open_below: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    finite = number and value < float("inf")
    if not finite or not (low < value if open_below else low <= value) or value > high:
        raise ValueError(f"law.{name}: got {value!r}, must be {allowed}")
