"""Which models can be compared at all, and which have a finite score without a prior.

Two models are connected when a chain of comparisons leads from one to the other; a joint ranking of models
that are not says nothing. Within a component the maximum-likelihood scores are finite exactly where every
model is reached from every other by wins (Ford 1957).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from oneloop.measure.ranking.pool import Floats, Integers


@dataclass(frozen=True)
class Connectivity:
    """What the games between m models allow."""

    component: Integers
    """int64 [m], 0 for the component of most models."""
    unbeaten: tuple[int, ...]
    """Models that played and never lost, drew or tied."""
    winless: tuple[int, ...]
    """Models that played and never won, drew or tied."""
    split: tuple[int, ...]
    """Models that lose to nobody outside this set, of one component: their scores run off to infinity."""

    @property
    def components(self) -> int:
        """Number of components."""
        return int(self.component.max(initial=-1)) + 1


def connectivity(wins: Floats) -> Connectivity:
    """Connectivity of a win matrix [m, m] in which ties count with any weight above 0."""
    _, labels = connected_components(csr_array(wins > 0), directed=True, connection="weak")
    by_size = np.argsort(-np.bincount(labels), kind="stable") if len(labels) else labels
    component = np.argsort(by_size)[labels] if len(labels) else labels
    won, lost = wins.sum(axis=1) > 0, wins.sum(axis=0) > 0
    unbeaten, winless = np.flatnonzero(won & ~lost), np.flatnonzero(lost & ~won)
    split = _split(wins, component)
    return Connectivity(
        component.astype(np.int64), *(tuple(map(int, some)) for some in (unbeaten, winless, split))
    )


def _split(wins: Floats, component: Integers) -> Integers:
    """The models nobody outside them beats, of the first component where these are not all of it."""
    _, strong = connected_components(csr_array(wins > 0), directed=True, connection="strong")
    for label in np.unique(strong):
        inside = strong == label
        whole = component == component[np.flatnonzero(inside)[0]]
        if inside.sum() < whole.sum() and not (wins[np.ix_(~inside, inside)] > 0).any():
            return np.flatnonzero(inside)
    return np.zeros(0, dtype=np.int64)
