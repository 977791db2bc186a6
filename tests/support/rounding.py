"""How far rounding may move a model's log-probs, so that a test holds on every CPU and for every library.

Computed with a unit roundoff u, a sum of n products is the exact sum of the same products with factors that
are off by at most n * u, and with high probability by a small multiple of sqrt(n) * u (Higham and Mary 2019,
"A new approach to probabilistic rounding error analysis"). So a forward in fp32 is about the exact forward of
weights that are off by sqrt(n) * u, n being the longest sum. By how much log-probs move when each weight is
moved that far, up or down at random, is measured here in float64. Gradients and whole steps of learning are
measured the same way, in the precision they run in.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from oneloop.core.protocols.policies import Policy
from oneloop.core.rollouts import Rollouts
from oneloop.engines.law import Law

DRAWS = 4
"""Sets of random signs; the largest move of any token in any of them counts, twice."""


Rows = Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
"""(tokens before, tokens scored) of each sequence."""


class Exact:
    """A float64 copy of a causal model as it is now, and copies whose weights are off by rounding errors."""

    def __init__(self, model: nn.Module, law: Law | None = None, dtype: torch.dtype = torch.float32):
        self.law = law or Law()
        self.model = copy.deepcopy(model).double().eval()
        self.model.set_experts_implementation("eager")  # torch's grouped product takes no float64
        size = longest(model) ** 0.5 * torch.finfo(dtype).eps / 2
        self.moved = [move(copy.deepcopy(self.model), size, seed) for seed in range(DRAWS)]

    def logprobs(self, before: tuple[int, ...], tokens: tuple[int, ...]) -> tuple[Tensor, float]:
        """Exact log-probs [t] of `tokens` after `before`, and how far rounding may move any of them."""
        return self.each([(before, tokens)])[0]

    def each(self, rows: Rows) -> list[tuple[Tensor, float]]:
        """What `logprobs` says of each of `rows`, from one forward of each model."""
        exact, sizes = self._logprobs(self.model, rows), [len(tokens) for _, tokens in rows]
        gaps = torch.stack([(self._logprobs(other, rows) - exact).abs() for other in self.moved]).amax(0)
        bounds = [2 * float(gap.max()) if len(gap) else 0.0 for gap in gaps.split(sizes)]
        return list(zip(exact.split(sizes), bounds, strict=True))

    def agrees(self, before: tuple[int, ...], tokens: tuple[int, ...], logprobs: object) -> None:
        """Raises AssertionError unless `logprobs` [t] of `tokens` are the exact ones up to rounding."""
        if tokens:
            self.agree([(before, tokens)], logprobs)

    def agree(self, rows: Rows, *found: object) -> None:
        """Raises AssertionError unless each of `found` [sum of t], log-probs of all scored tokens of `rows`
        in turn, are the exact ones up to rounding."""
        exact = self._logprobs(self.model, rows)
        gaps = [(self._logprobs(other, rows) - exact).abs().max() for other in self.moved]
        for each in found:
            torch.testing.assert_close(
                torch.as_tensor(each).detach().double(), exact, atol=2 * float(max(gaps)), rtol=0
            )

    @torch.no_grad()
    def _logprobs(self, model: nn.Module, rows: Rows) -> Tensor:
        width = max(len(before) + len(tokens) for before, tokens in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)  # causal: what stands behind is not seen
        for row, (before, tokens) in enumerate(rows):
            ids[row, : len(before) + len(tokens)] = torch.tensor([*before, *tokens])
        logits = model(ids).logits
        chosen = []
        for row, (before, tokens) in enumerate(rows):
            own = logits[row, len(before) - 1 : len(before) + len(tokens) - 1]
            own = own / (self.law.temperature or 1.0)
            if self.law.truncates:
                own = own.masked_fill(~self.law.kept(own), float("-inf"))
            chosen.append(
                own.log_softmax(-1).gather(1, torch.tensor(tokens, dtype=torch.long)[:, None]).squeeze(1)
            )
        return torch.cat(chosen)


Move = Callable[[nn.Module], nn.Module]


@contextmanager
def moved_by(moved: Move, model: nn.Module) -> Iterator[None]:
    """Inside, `model` has the weights that `moved` makes of its own."""
    kept = copy.deepcopy(model.state_dict())
    moved(model)
    try:
        yield
    finally:
        model.load_state_dict(kept)


def room(computed: Callable[[Move], Tensor], dtype: torch.dtype = torch.float32) -> float:
    """How far two orders of the same sums in `dtype` may move any element of a result apart.

    `computed(move)` returns the result from models it gave to `move`, which changes their weights in place
    by rounding errors of `dtype`. Each order may be off by twice what those do, as above, and by two
    roundings of the largest element in what is done after the last sum.
    """
    exact = computed(lambda model: model).double()
    eps, gaps = torch.finfo(dtype).eps, []
    for seed in range(DRAWS):
        off = computed(lambda model, seed=seed: move(model, longest(model) ** 0.5 * eps / 2, seed))
        gaps.append((off.detach().double() - exact.detach()).abs().nan_to_num().max().item())
    return 4 * (max(gaps) + eps / 2 * float(exact.detach().nan_to_num().abs().max()))


def logprob_room(policy: Policy, rollouts: Rollouts) -> float:
    """How far apart `policy` may say the log-prob of any action of `rollouts` when it is asked twice: by its
    sampler and its learner, or in other batches."""
    wanted = torch.ones(len(rollouts.actions), dtype=torch.bool)

    @torch.no_grad()
    def logprobs(moved: Move) -> Tensor:
        with moved_by(moved, policy.model):
            pieces = policy.batches(rollouts, wanted, 10**6)
            return torch.cat([policy.at(rollouts, actions).logprob for actions in pieces])

    return room(logprobs)


def reordered(model: nn.Module, dtype: torch.dtype = torch.float32) -> float:
    """Relative difference, in norm, of two orders of the same sums: sqrt(n) roundings each, n the longest."""
    return 2 * torch.finfo(dtype).eps * longest(model) ** 0.5


def relative(one: Tensor, other: Tensor) -> float:
    """The norm of the difference as a share of that of `other`."""
    return float((one.double() - other.double()).norm() / other.double().norm())


def longest(model: nn.Module) -> int:
    """The number of products in the longest sum of a linear layer."""
    return max(weight.shape[-1] for weight in model.parameters() if weight.dim() > 1)


@torch.no_grad()
def move(model: nn.Module, size: float, seed: int) -> nn.Module:
    """`model`, each weight times 1 + size or 1 - size, at random by `seed`; in place."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        sign = torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
        weight.mul_(1 + size * sign)
    return model
