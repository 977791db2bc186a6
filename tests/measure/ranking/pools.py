"""Pools for the tests of this folder."""

import itertools

import numpy as np
from hypothesis import strategies as st

from oneloop.measure.ranking import from_matrix, from_preferences, merged

NAN = float("nan")


def example_a():
    """Worked example A: binary, binary, numeric, binary with a gap."""
    values = np.array([[1, 1, 0.9, NAN], [0, 1, 0.4, 1], [0, 0, 0.7, 0]])
    return from_matrix(values, ["A", "B", "C"], ["s1", "s2", "s3", "s4"])


def of_orders(orders):
    """A pool in which sample j ranks the models as orders[j] says, best first."""
    values = np.full((1 + max(map(max, orders)), len(orders)), np.nan)
    for j, order in enumerate(orders):
        values[order, j] = -np.arange(len(order))
    return from_matrix(values, [f"m{a}" for a in range(len(values))], [f"s{j}" for j in range(len(orders))])


def mixed(seed=0, m=7, n=60, missing=0.4, levels=3):
    """Binary and `levels`-valued samples with gaps, and some preferences on the same samples."""
    draw = np.random.Generator(np.random.Philox(seed))
    skill = np.linspace(-1, 1, m)[:, None]
    values = np.floor(levels / (1 + np.exp(-skill - draw.normal(size=(m, n)))))
    values[:, ::2] = values[:, ::2] > levels / 2
    values[draw.random((m, n)) < missing] = np.nan
    names, samples = [f"m{a}" for a in range(m)], [f"s{j}" for j in range(n)]
    pairs = [(a, b) for a, b in itertools.combinations(range(m), 2)]
    rows = [
        {"model_a": names[a], "model_b": names[b], "sample": samples[i % n], "weight": 1.0 + i % 3}
        | {"winner": ("model_a", "model_b", "tie")[int(draw.integers(3))]}
        for i, (a, b) in enumerate(pairs)
    ]
    return merged(
        [from_matrix(values, names, samples), from_preferences(rows, sample="sample", weight="weight")]
    )


@st.composite
def matrices(draw, most=6):
    """[m, n] of small integers and gaps: ties, empty rows and columns included."""
    m, n = draw(st.integers(2, most)), draw(st.integers(1, most))
    cells = st.sampled_from([NAN, 0.0, 1.0, 2.0])
    return np.array(draw(st.lists(st.lists(cells, min_size=n, max_size=n), min_size=m, max_size=m)))


def pool_of(values):
    return from_matrix(
        values, [f"m{a}" for a in range(len(values))], [f"s{j}" for j in range(values.shape[1])]
    )


def brute_force(values):
    """(wins [m, m], ties [m, m]) by the definition, pair by pair."""
    m = len(values)
    wins, ties = np.zeros((m, m)), np.zeros((m, m))
    for a, b in itertools.permutations(range(m), 2):
        wins[a, b] = (values[a] > values[b]).sum()
        ties[a, b] = (values[a] == values[b]).sum()
    return wins, ties
