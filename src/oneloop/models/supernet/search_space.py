"""Architectures of a supernet: their costs, how many there are of a cost, and exact draws among these.

    space = SearchSpace(Choice("a", (1, 2, 3), cost=(1, 2, 3)), Choice("b", (1, 2, 3), cost=(1, 2, 3)))
    space.sample(generator, 4, 5)      every architecture of cost 4 or 5 with the same probability

Uniform draws of each operation starve the extremes, because a sum of independent costs gathers in the middle.
Here architectures are counted by cost and operation, so that a draw within a range never misses it. A cost
is a sum over choices plus products of values, such as depth times width; choices that multiply are enumerated
and the rest counted: O(E D n C) for E combinations of these, D others with n values, and C different costs.
"""

import bisect
import difflib
import itertools
import math
import warnings
from collections.abc import Sequence

import torch

from oneloop.models.supernet.choice import Bin, Choice, Product, separating
from oneloop.models.supernet.counts import Counts, below
from oneloop.models.supernet.elastic import Architecture

MOST_COMBINATIONS = 100_000
"""Combinations of multiplying choices that are enumerated at most."""


class SearchSpace:
    """The architectures of some choices; a cost is a count of multiply-adds."""

    def __init__(self, *choices: Choice, products: Sequence[Product] = (), constant: int = 0):
        """`products`: costs that multiply values; `constant`: what every architecture costs besides.

        Raises ValueError for repeated or unknown names, and where too many choices multiply to enumerate.
        """
        self.choices = {choice.name: choice for choice in choices}
        self.products, self.constant = tuple(products), constant
        if not choices or len(self.choices) < len(choices):
            raise ValueError(f"choices: got {[choice.name for choice in choices]}, must be different names")
        for name in sorted({name for product in products for name in product.choices}):
            self._known(name)
        multiplying = [self.choices[name] for name in separating(self.products)]
        if (combinations := math.prod(len(choice.values) for choice in multiplying)) > MOST_COMBINATIONS:
            raise ValueError(
                f"the choices {', '.join(choice.name for choice in multiplying)} multiply and have "
                f"{combinations} combinations; at most {MOST_COMBINATIONS} can be counted"
            )
        fixings = itertools.product(*(choice.values for choice in multiplying))
        self._tables = [
            Counts(
                choices,
                self.products,
                constant,
                dict(zip((choice.name for choice in multiplying), values, strict=True)),
            )
            for values in fixings
        ]
        self.minimum = min(table.totals[0] for table in self._tables)
        self.maximum = max(table.totals[-1] for table in self._tables)

    def _known(self, name: str) -> Choice:
        """Raises ValueError, with the nearest name, for a choice there is not."""
        if name not in self.choices:
            near = difflib.get_close_matches(name, self.choices, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(self.choices)}"
            raise ValueError(f"no choice is called '{name}'; {hint}")
        return self.choices[name]

    def cost(self, architecture: Architecture) -> int:
        """Multiply-adds of a whole architecture. Raises ValueError for missing, unknown or other values."""
        for name, value in architecture.items():
            if value not in self._known(name).values:
                raise ValueError(f"architecture: {name}: got {value}, must be in {self.choices[name].values}")
        if missing := [name for name in self.choices if name not in architecture]:
            raise ValueError(f"architecture: no value for {', '.join(missing)}")
        single = sum(
            choice.costs[choice.values.index(architecture[name])] for name, choice in self.choices.items()
        )
        return self.constant + single + sum(product.cost(architecture) for product in self.products)

    def count(self, low: int | None = None, high: int | None = None) -> int:
        """Number of architectures of cost `low` to `high`, both included; None: no bound."""
        bounds = self._bounds(low, high)
        return sum(table.count(*bounds) for table in self._tables)

    def costs(self) -> list[int]:
        """The different costs there are, ascending."""
        return sorted({total for table in self._tables for total in table.totals})

    def sample(
        self, generator: torch.Generator, low: int | None = None, high: int | None = None
    ) -> dict[str, int]:
        """An architecture of cost `low` to `high`, each with the same probability; one draw, never a miss.

        Raises ValueError, with the costs there are, where none lies in the range.
        """
        bounds = self._bounds(low, high)
        counts = [table.count(*bounds) for table in self._tables]
        if not (total := sum(counts)):
            raise ValueError(f"no architecture costs {low} to {high}; {self._nearest(bounds)}")
        rank, drawn = below(total, generator), 0
        while rank >= counts[drawn]:
            rank -= counts[drawn]
            drawn += 1
        found = self._tables[drawn].architecture(rank, *bounds)
        return {name: found[name] for name in self.choices}

    def bins(self, count: int) -> tuple[Bin, ...]:
        """At most `count` bins of equal width over all costs; one that is empty joins the bin before it.

        Warns where bins are joined. Raises ValueError for more bins than there are different costs.
        """
        if not 1 <= count <= len(self.costs()):
            raise ValueError(
                f"bins: got {count}, must be in 1..{len(self.costs())}, the number of different costs"
            )
        width = self.maximum - self.minimum + 1
        edges = [self.minimum - (-width * index // count) for index in range(count + 1)]
        made: list[Bin] = []
        for low, high in itertools.pairwise(edges):
            if self.count(low, high - 1):
                made.append(Bin(low, high - 1))
            else:  # never the first, which holds the cheapest
                made[-1] = Bin(made[-1].low, high - 1)
        if len(made) < count:
            warnings.warn(
                f"{count - len(made)} of {count} bins hold no architecture and were joined to neighbours: "
                f"{len(made)} are left",
                stacklevel=2,
            )
        return tuple(made)

    def _bounds(self, low: int | None, high: int | None) -> tuple[int, int]:
        return self.minimum if low is None else low, self.maximum if high is None else high

    def _nearest(self, bounds: tuple[int, int]) -> str:
        """The feasible range, and the costs around what was asked for."""
        costs = self.costs()
        before, after = bisect.bisect_left(costs, bounds[0]), bisect.bisect_right(costs, bounds[1])
        around = [str(cost) for cost in costs[max(0, before - 1) : after + 1]]
        return f"costs go from {self.minimum} to {self.maximum}, nearest: {' and '.join(around)}"
