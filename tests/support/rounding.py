"""How far rounding may move a model's log-probs, so that a test holds on every CPU and for every library.

Computed with a unit roundoff u, a sum of n products is the exact sum of the same products with factors that
are off by at most n * u, and with high probability by a small multiple of sqrt(n) * u (Higham and Mary 2019,
"A new approach to probabilistic rounding error analysis"). So a forward in fp32 is about the exact forward of
weights that are off by sqrt(n) * u, n being the longest sum. By how much log-probs move when each weight is
moved that far, up or down at random, is measured here in float64.
"""

import copy

import torch
from torch import Tensor, nn

from oneloop.engines.law import Law

DRAWS = 4
"""Sets of random signs; the largest move of any token in any of them counts, twice."""


class Exact:
    """A float64 copy of a causal model as it is now, and copies whose weights are off by rounding errors."""

    def __init__(self, model: nn.Module, law: Law | None = None, dtype: torch.dtype = torch.float32):
        self.law = law or Law()
        self.model = copy.deepcopy(model).double().eval()
        longest = max(weight.shape[-1] for weight in model.parameters() if weight.dim() > 1)
        size = longest**0.5 * torch.finfo(dtype).eps / 2
        self.moved = [moved(self.model, size, seed) for seed in range(DRAWS)]

    def logprobs(self, before: tuple[int, ...], tokens: tuple[int, ...]) -> tuple[Tensor, float]:
        """Exact log-probs [t] of `tokens` after `before`, and how far rounding may move any of them."""
        exact = self._logprobs(self.model, before, tokens)
        gaps = [(self._logprobs(other, before, tokens) - exact).abs().max().item() for other in self.moved]
        return exact, 2 * max(gaps)

    def agrees(self, before: tuple[int, ...], tokens: tuple[int, ...], logprobs: object) -> None:
        """Raises AssertionError unless `logprobs` [t] of `tokens` are the exact ones up to rounding."""
        if not tokens:
            return
        exact, bound = self.logprobs(before, tokens)
        found = torch.as_tensor(logprobs).double()
        torch.testing.assert_close(found, exact, atol=bound, rtol=0)

    @torch.no_grad()
    def _logprobs(self, model: nn.Module, before: tuple[int, ...], tokens: tuple[int, ...]) -> Tensor:
        ids = torch.tensor([(*before, *tokens)])
        logits = model(ids).logits[0, len(before) - 1 : -1] / (self.law.temperature or 1.0)
        if self.law.truncates:
            logits = logits.masked_fill(~self.law.kept(logits), float("-inf"))
        return logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).squeeze(1)


@torch.no_grad()
def moved(model: nn.Module, size: float, seed: int) -> nn.Module:
    """A copy of `model` with each weight times 1 + size or 1 - size, at random by `seed`."""
    copied, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for weight in copied.parameters():
        sign = torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
        weight.mul_(1 + size * sign)
    return copied
