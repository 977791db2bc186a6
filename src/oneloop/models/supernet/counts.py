"""Architectures counted by operation and cost, and an exact draw without rounding."""

import bisect
import itertools
from collections.abc import Sequence

import torch

from oneloop.models.supernet.choice import Choice, Product


class Counts:
    """Numbers of architectures by cost, where the choices that multiply are `fixed`."""

    def __init__(
        self,
        choices: Sequence[Choice],
        products: Sequence[Product],
        constant: int,
        fixed: dict[str, int],
    ):
        """`fixed`: values of choices which leave no product of two others."""
        self.fixed = fixed
        free = [choice for choice in choices if choice.name not in fixed]
        self.names = [choice.name for choice in free]
        self.values = [choice.values for choice in free]
        ones = dict.fromkeys((choice.name for choice in choices), 1)
        self.costs = [list(choice.costs) for choice in free]
        start = constant + sum(
            choice.costs[choice.values.index(fixed[choice.name])]
            for choice in choices
            if choice.name in fixed
        )
        for product in products:
            each = product.cost(ones | fixed)
            if left := set(product.choices) - set(fixed):
                (name,) = left
                index, power = self.names.index(name), product.powers[name]
                for which, value in enumerate(free[index].values):
                    self.costs[index][which] += each * value**power
            else:
                start += each
        self._count_from_the_end(start)

    def _count_from_the_end(self, start: int) -> None:
        """How many ways the operations from d on have to cost each sum: sums ascending, counts summed up."""
        ways = {0: 1}
        self.start, self.sums, self.summed = start, [[0]], [[0, 1]]
        for costs in reversed(self.costs):
            further: dict[int, int] = {}
            for (spent, count), cost in itertools.product(ways.items(), costs):
                further[spent + cost] = further.get(spent + cost, 0) + count
            ways = dict(sorted(further.items()))
            self.sums.insert(0, list(ways))
            self.summed.insert(0, [0, *itertools.accumulate(ways.values())])
        self.totals = [start + spent for spent in self.sums[0]]

    def _ways(self, operation: int, low: int, high: int) -> int:
        """Ways of the operations from `operation` on to cost `low` to `high`."""
        sums, summed = self.sums[operation], self.summed[operation]
        return max(0, summed[bisect.bisect_right(sums, high)] - summed[bisect.bisect_left(sums, low)])

    def count(self, low: int, high: int) -> int:
        """Architectures of cost `low` to `high`."""
        return self._ways(0, low - self.start, high - self.start)

    def architecture(self, rank: int, low: int, high: int) -> dict[str, int]:
        """The one at place `rank` among those of cost `low` to `high`."""
        found, low, high = dict(self.fixed), low - self.start, high - self.start
        for operation, name in enumerate(self.names):
            which = 0
            while rank >= (ways := self._ways(operation + 1, *self._left(operation, which, low, high))):
                rank -= ways
                which += 1
            found[name] = self.values[operation][which]
            low, high = self._left(operation, which, low, high)
        return found

    def _left(self, operation: int, which: int, low: int, high: int) -> tuple[int, int]:
        """The range that is left for later operations, once this one has taken its value `which`."""
        cost = self.costs[operation][which]
        return low - cost, high - cost


def below(count: int, generator: torch.Generator) -> int:
    """An integer in 0..count-1, each with the same probability, however large `count` is."""
    words, bits = 1 + count.bit_length() // 62, 62
    span = 1 << (words * bits)
    while True:  # draws beyond the last whole multiple of `count` would favour small numbers
        drawn = 0
        for word in torch.randint(1 << bits, (words,), generator=generator).tolist():
            drawn = (drawn << bits) | word
        if drawn < span - span % count:
            return drawn % count
