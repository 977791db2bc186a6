"""fair/panel.py: the order statistic is the panel, reports are what they say, bad panels are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.fair.panel import (
    AuditorPanel,
    DistanceFunction,
    Reporters,
    WeightedDistance,
    needed,
    order_statistic,
)


class Fixed:
    """An auditor with one matrix of distances."""

    def __init__(self, matrix):
        self.matrix = np.asarray(matrix, dtype=float)

    def distances(self, x):
        return self.matrix


def of_pair(distance):
    """Two people so far apart, both ways."""
    return Fixed([[0, distance], [distance, 0]])


X = np.zeros((2, 1))


@pytest.mark.parametrize(
    ("gamma", "s", "effective", "violated"),
    [(1 / 3, 1, 0.1, True), (0.5, 2, 0.3, True), (2 / 3, 2, 0.3, True), (1.0, 3, 0.6, False)],
)
def test_worked_panel(gamma, s, effective, violated):
    panel = AuditorPanel([of_pair(d) for d in (0.1, 0.3, 0.6)], alpha=0.1, gamma=gamma)
    assert panel.needed == s
    assert panel.effective_distance(X)[0, 1] == pytest.approx(effective, abs=1e-12)
    found = panel.audit(np.array([0.75, 0.25]), X)
    assert (found is not None) == violated
    if found is not None:
        assert (found.favoured, found.disfavoured, found.votes) == (0, 1, 2)
        assert found.gap == pytest.approx(0.5, abs=1e-12)
        assert found.excess == pytest.approx(0.5 - effective - 0.1, abs=1e-12)


panels = st.tuples(
    st.integers(1, 6), st.integers(2, 5), st.floats(0, 0.5), st.floats(0.01, 1), st.integers(0, 10**6)
)


def drawn(m, k, seed):
    draw = np.random.Generator(np.random.Philox(seed))
    return draw.random((m, k, k)), draw.random(k)


@given(panels)
@settings(max_examples=200, deadline=None)
def test_a_panel_is_its_order_statistic(case):
    m, k, alpha, gamma, seed = case
    distances, probs = drawn(m, k, seed)
    gap = probs[:, None] - probs[None]
    share = (gap > distances + alpha).mean(axis=0)
    s = needed(gamma, m)
    by_share = share >= s / m - 1e-12
    assert np.array_equal(by_share, gap > order_statistic(distances, s) + alpha)
    found = AuditorPanel([Fixed(d) for d in distances], alpha=alpha, gamma=gamma).audit(
        probs, np.zeros((k, 1))
    )
    assert (found is not None) == by_share.any()
    if found is not None:
        assert by_share[found.favoured, found.disfavoured] and found.votes / m >= gamma - 1e-9


@given(panels, st.floats(0, 0.5), st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_stricter_panels_report_more(case, more_alpha, more_gamma):
    m, k, alpha, gamma, seed = case
    distances, probs = drawn(m, k, seed)
    gap = probs[:, None] - probs[None]

    def violated(a, g):
        return gap > order_statistic(distances, needed(g, m)) + a

    assert not (violated(alpha + more_alpha, gamma) & ~violated(alpha, gamma)).any()
    assert not (violated(alpha, max(gamma, more_gamma)) & ~violated(alpha, gamma)).any()
    assert not violated(1.0, gamma).any()
    assert (
        AuditorPanel([Fixed(d) for d in distances], alpha=0, gamma=gamma).audit(np.full(k, 0.3), X[:1])
        is None
    )


def test_people_who_are_alike_and_treated_alike_are_no_violation():
    x = np.ones((3, 2))
    panel = AuditorPanel([WeightedDistance([1, 1])], alpha=0, gamma=1)
    assert panel.audit(np.full(3, 0.7), x) is None  # strict: a gap of 0 over a distance of 0
    assert panel.audit(np.array([0.7, 0.7, 0.6]), x) is not None


def test_share_of_two_thirds_is_two_of_three():
    assert [needed(g, 3) for g in (1e-9, 1 / 3, 1 / 3 + 1e-6, 2 / 3, 1.0)] == [1, 1, 2, 2, 3]
    assert needed(2 / 3 * 3 / 3, 3) == 2


def test_worst_or_first_pair():
    probs, x = np.array([0.5, 0.0, 1.0]), np.zeros((3, 1))
    worst, first = (
        AuditorPanel([WeightedDistance([0])], alpha=0, gamma=1, report=how) for how in ("worst", "first")
    )
    assert (worst.audit(probs, x).favoured, worst.audit(probs, x).disfavoured) == (2, 1)
    assert (first.audit(probs, x).favoured, first.audit(probs, x).disfavoured) == (0, 1)


def test_distances():
    x = np.array([[0.0, 0.0], [1.0, 0.5], [0.2, 0.0]])
    weighted = WeightedDistance([0.4, 2.0]).distances(x)
    assert weighted[0, 1] == 1.0 and weighted[0, 2] == pytest.approx(0.08) and not np.diag(weighted).any()
    own = DistanceFunction(lambda a, b: float(a[0] > b[0])).distances(x)  # need not be symmetric
    assert own.tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan")])
def test_a_distance_out_of_bounds_names_auditor_and_pair(bad):
    panel = AuditorPanel([of_pair(0.5), of_pair(bad)], alpha=0, gamma=1)
    with pytest.raises(ValueError, match=f"auditor 1 gives {bad} between 0 and 1"):
        panel.audit(np.array([1.0, 0.0]), X)


def test_bad_panels():
    for gamma in (0, -1, 1.1):
        with pytest.raises(ValueError, match=f"gamma must be in .* got {gamma}"):
            AuditorPanel([of_pair(1)], alpha=0, gamma=gamma)
    with pytest.raises(ValueError, match="auditors: .* at least one"):
        AuditorPanel([], alpha=0, gamma=1)
    with pytest.raises(ValueError, match="alpha must be at least 0, got -0.1"):
        AuditorPanel([of_pair(1)], alpha=-0.1, gamma=1)
    with pytest.raises(ValueError, match=r"probs must be in \[0, 1\]"):
        AuditorPanel([of_pair(1)], alpha=0, gamma=1).audit(np.array([1.2, 0]), X)
    with pytest.raises(ValueError, match="weights must be finite"):
        WeightedDistance([1, -1])
    with pytest.raises(ValueError, match="2 numbers for people of 1 features"):
        WeightedDistance([1, 1]).distances(X)


def test_reporters_count_votes():
    says = [lambda p, x: (0, 1), lambda p, x: (0, 1), lambda p, x: (2, 1), lambda p, x: None]
    probs, x = np.array([0.9, 0.1, 0.5]), np.zeros((3, 1))
    found = Reporters(says, gamma=0.5).audit(probs, x)
    assert (found.favoured, found.disfavoured, found.votes) == (0, 1, 2)
    assert found.gap == pytest.approx(0.8)
    assert Reporters(says, gamma=0.75).audit(probs, x) is None
    assert Reporters(says[2:], gamma=0.5).audit(probs, x).favoured == 2


@pytest.mark.parametrize("pair", [(0, 0), (0, 3), (-1, 1)])
def test_a_report_of_no_pair(pair):
    with pytest.raises(ValueError, match="auditor 0 reports the pair .* must name two of 3 people"):
        Reporters([lambda p, x: pair], gamma=1).audit(np.array([0.9, 0.1, 0.5]), np.zeros((3, 1)))


def test_a_report_without_a_gap():
    with pytest.raises(ValueError, match="0.1, 0 with 0.9: the first must be favoured"):
        Reporters([lambda p, x: (1, 0)], gamma=1).audit(np.array([0.9, 0.1]), X)
