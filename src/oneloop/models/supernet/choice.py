"""What a search space is made of: choices with the costs of their values, and costs that multiply."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Choice:
    """One searchable operation: the values it can take, and what each of them costs in all.

    Raises ValueError for values that do not rise, are no integers from 0, or have other costs than one each.
    """

    name: str
    """Its name in an architecture."""
    values: tuple[int, ...]
    """Values, ascending, such as numbers of channels."""
    cost: tuple[int, ...] = ()
    """Multiply-adds of each value that are not in a `Product`; empty: none."""

    def __post_init__(self) -> None:
        if not self.values or any(not _natural(value) for value in self.values):
            raise ValueError(f"choice '{self.name}': values: got {self.values}, must be integers from 0")
        if any(low >= high for low, high in zip(self.values, self.values[1:], strict=False)):
            rising = tuple(sorted(set(self.values)))
            raise ValueError(
                f"choice '{self.name}': values: got {self.values}, must rise without repeats: {rising}"
            )
        if self.cost and len(self.cost) != len(self.values):
            raise ValueError(
                f"choice '{self.name}': cost: got {len(self.cost)} costs for {len(self.values)} values"
            )
        if any(not _natural(cost) for cost in self.cost):
            raise ValueError(f"choice '{self.name}': cost: got {self.cost}, must be integers from 0")

    @property
    def costs(self) -> tuple[int, ...]:
        """Cost of each value."""
        return self.cost or (0,) * len(self.values)


@dataclass(frozen=True)
class Product:
    """A cost of `each` times the values of `choices`; a choice may be named twice, as in width * width."""

    each: int
    """Multiply-adds for values of 1."""
    choices: tuple[str, ...]
    """Choices whose values multiply."""

    def __post_init__(self) -> None:
        if not _natural(self.each) or not self.choices:
            raise ValueError(
                f"product: got {self.each} times {self.choices}, must be a count from 0 of choices"
            )

    @property
    def powers(self) -> Mapping[str, int]:
        """How often each choice is a factor."""
        return Counter(self.choices)

    def cost(self, values: Mapping[str, int]) -> int:
        """The cost at `values`."""
        return self.each * math.prod(values[name] for name in self.choices)


class Bin(NamedTuple):
    """Architectures of cost `low` to `high`, both included."""

    low: int
    high: int

    @property
    def middle(self) -> float:
        """The cost half way."""
        return (self.low + self.high) / 2


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def separating(products: Sequence[Product]) -> list[str]:
    """Choices which, once fixed, leave no product of two others: the cost is then a sum over the others.

    Greedy: the choice that is in most products still unsplit comes first.
    """
    fixed: list[str] = []
    while True:
        left = [set(product.choices) - set(fixed) for product in products]
        counts = Counter(name for names in left if len(names) > 1 for name in sorted(names))
        if not counts:
            return fixed
        fixed.append(max(sorted(counts), key=lambda name: counts[name]))
