"""Small classes of rules and streams for the tests of oneloop.fair."""

import numpy as np

from oneloop.fair.panel import AuditorPanel, WeightedDistance


class Table:
    """Rules that are a table: decisions [N, people]; a person is his number, x = [[number]]."""

    def __init__(self, decisions):
        self.decisions = np.asarray(decisions, dtype=bool)

    def __len__(self):
        return len(self.decisions)

    def predict(self, x):
        return self.decisions[:, x[:, 0].astype(int)]


WORKED = [[1, 0], [1, 1], [0, 0]]
"""h1, h2, h3 of the worked examples, on two people."""


def numbered(k):
    return np.arange(k, dtype=float)[:, None]


def small_stream(rounds=60, k=4, seed=0):
    """(x [T, k, 3], y [T, k], a panel)."""
    draw = np.random.Generator(np.random.Philox(seed))
    x = draw.random((rounds, k, 3))
    y = (x[..., 0] + 0.3 * draw.random((rounds, k)) > 0.6).astype(float)
    panel = AuditorPanel([WeightedDistance(w) for w in draw.random((3, 3))], alpha=0.05, gamma=0.5)
    return x, y, panel
