"""The formulas of periods."""

import pytest

from oneloop.parallel.runtime.period import chain, period, ring_period
from oneloop.parallel.runtime.simulate import simulate


def test_formula():
    assert period([80, 50, 60], [1, 1]) == 130
    assert period([80, 50, 60], [2, 2]) == 80
    assert period([20, 60, 30], [1, 2]) == 80
    assert period([20, 60, 30], [3, 3], workers=[1, 2, 1]) == 30
    assert period([4, 3], [1], latency=0.5) == 8
    assert period([7], []) == 7


def test_bad_numbers_are_named():
    with pytest.raises(
        ValueError, match="3 stages need 2 numbers of registers and 3 of workers, got 1 and 3"
    ):
        period([1, 2, 3], [1])
    with pytest.raises(ValueError, match=r"at least 1, got \[0\]"):
        period([1, 2], [0])


@pytest.mark.parametrize("tokens", [1, 2, 3, 4])
@pytest.mark.parametrize("durations", [(80.0, 50.0, 60.0), (1.0, 5.0, 1.0), (2.0, 2.0, 2.0)])
def test_ring_formula_is_the_simulated_period(durations, tokens):
    graph = chain("abc", [4, 4])
    graph.edge("c", "a", control=True, initial=tokens)
    trace = simulate(graph, dict(zip("abc", durations, strict=True)), 300)
    assert trace.period("c") == pytest.approx(ring_period(durations, tokens), rel=0.01)
    with pytest.raises(ValueError, match="tokens must be at least 1, got 0"):
        ring_period(durations, 0)
