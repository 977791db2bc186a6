"""A learned generator of architectures for a budget (ShiftNAS, arXiv 2307.08300, section 3.3).

An LSTM cell is told the budget and gives one choice after the other; each is drawn by hard Gumbel-softmax: a
one-hot vector forward, the gradient of the soft one backward. As unit masks they weigh the supernet
(`oneloop.models.supernet.mask`), so that the task's loss and the resource loss

    lambda (cost(p) - C)^2     (equation 10; the dearest architecture costs 1, the cheapest 0)

train generator and supernet together. The exact draw of `SearchSpace.sample` never misses a budget and needs
no training; this one can prefer some architectures of a cost to others. The paper does not say whether the
last choice is fed back: here it is.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oneloop.models.supernet.search_space import SearchSpace
from oneloop.models.supernet.unit_mask import unit_mask


class ArchitectureGenerator(nn.Module):
    """Policies [n] over the values of each choice of `space`, given a budget."""

    def __init__(self, space: SearchSpace, hidden: int = 64):
        """`hidden`: units of the LSTM cell."""
        super().__init__()
        self.space = space
        sizes = [len(choice.values) for choice in space.choices.values()]
        self.cell = nn.LSTMCell(2 + max(sizes) + len(sizes), hidden)
        self.heads = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)

    def forward(
        self, budget: float, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """One-hot weights [n] by choice, drawn; the gradient is that of the soft weights.

        Raises ValueError for a budget beyond what the space has.
        """
        return self._policies(budget, lambda logits: hard_gumbel(logits, temperature, generator))

    @torch.no_grad()
    def best(self, budget: float) -> dict[str, int]:
        """The likeliest value of each choice, one after the other: the architecture to deploy."""
        found = self._policies(budget, lambda logits: F.one_hot(logits.argmax(), len(logits)).to(logits))
        return {name: choice.values[int(found[name].argmax())] for name, choice in self.space.choices.items()}

    def _policies(self, budget: float, draw: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        space, weight = self.space, self.cell.weight_ih
        if not space.minimum <= budget <= space.maximum:
            raise ValueError(f"budget: got {budget:g}, must be in {space.minimum}..{space.maximum}")
        told = weight.new_tensor([self.scaled(budget), self.scaled(budget) ** 2])
        widest = weight.shape[1] - 2 - len(self.heads)
        last = weight.new_zeros(widest)
        state, found = None, {}
        for place, (name, head) in enumerate(zip(space.choices, self.heads, strict=True)):
            which = F.one_hot(torch.tensor(place, device=weight.device), len(self.heads)).to(weight)
            state = self.cell(torch.cat([told, last, which])[None], state)
            found[name] = draw(head(state[0])[0])
            last = F.pad(found[name], (0, widest - len(found[name])))
        return found

    def scaled(self, cost: float) -> float:
        """A cost between the cheapest architecture, 0, and the dearest, 1."""
        return (cost - self.space.minimum) / max(1, self.space.maximum - self.space.minimum)

    def masks(self, policies: dict[str, Tensor]) -> dict[str, Tensor]:
        """Unit masks by choice, as `oneloop.models.supernet.mask` takes them."""
        return {name: unit_mask(p, self.space.choices[name].values) for name, p in policies.items()}

    def resource_loss(self, policies: dict[str, Tensor], budget: float) -> Tensor:
        """Squared distance of the expected cost from `budget`, both on the scale from 0 to 1."""
        span = max(1, self.space.maximum - self.space.minimum)
        return ((expected_cost(self.space, policies) - budget) / span).square()


def expected_cost(space: SearchSpace, policies: dict[str, Tensor]) -> Tensor:
    """Mean cost when each choice is drawn on its own from `policies` {choice: p [n]}, products included."""
    kind = next(iter(policies.values()))
    total = kind.new_tensor(float(space.constant))
    for name, choice in space.choices.items():
        total = total + policies[name] @ kind.new_tensor(choice.costs)
    for product in space.products:
        factors = [
            policies[name] @ kind.new_tensor(space.choices[name].values) ** power
            for name, power in product.powers.items()
        ]
        total = total + product.each * torch.stack(factors).prod()
    return total


def hard_gumbel(logits: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
    """A one-hot draw [n] from softmax(logits [n]) whose gradient is that of the soft one.

    It is drawn k with probability softmax(logits)_k at every temperature. torch's own takes no generator.
    """
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=torch.float64)
    noise = -torch.log(-torch.log(uniform.clamp(1e-300, 1 - 1e-16))).to(logits.dtype)
    soft = ((logits + noise) / temperature).softmax(-1)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
    return hard + soft - soft.detach()
