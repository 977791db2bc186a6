"""The formula and the rule that sizes registers."""

import random

import pytest

from oneloop.parallel.runtime.period import chain, makespan, period, ring_period, size_registers
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


def test_two_registers_are_enough_where_nothing_varies():
    found = size_registers("abc", [[80.0] * 50, [50.0] * 50, [60.0] * 50], [10, 20])
    assert [(one.edge, one.registers, one.bytes) for one in found] == [("a -> b", 2, 20), ("b -> c", 2, 40)]
    assert found[0].before == pytest.approx(130, rel=0.03) and found[0].after == pytest.approx(80, rel=0.03)


def test_varying_durations_get_more_and_memory_is_kept():
    choose = random.Random(1)
    traces = [[choose.expovariate(1) for _ in range(400)] for _ in range(3)]
    free = size_registers("abc", traces, [1, 1])
    assert min(one.registers for one in free) > 2
    small = size_registers("abc", traces, [1, 1], memory=5)
    assert sum(one.bytes for one in small) <= 5
    assert free[0].after < small[0].after < small[0].before
    # one more register on any edge gains less than 1 %
    counts = [one.registers for one in free]
    span = makespan("abc", traces, counts)
    for edge in range(2):
        more = [count + (edge == n) for n, count in enumerate(counts)]
        assert span / makespan("abc", traces, more) <= 1.01


def test_memory_below_one_register_each_is_refused():
    with pytest.raises(ValueError, match=r"takes 30 bytes, more than memory \(20\)"):
        size_registers("abc", [[1.0], [1.0], [1.0]], [10, 20], memory=20)


@pytest.mark.parametrize("tokens", [1, 2, 3, 4])
@pytest.mark.parametrize("durations", [(80.0, 50.0, 60.0), (1.0, 5.0, 1.0), (2.0, 2.0, 2.0)])
def test_ring_formula_is_the_simulated_period(durations, tokens):
    graph = chain("abc", [4, 4])
    graph.edge("c", "a", control=True, initial=tokens)
    trace = simulate(graph, dict(zip("abc", durations, strict=True)), 300)
    assert trace.period("c") == pytest.approx(ring_period(durations, tokens), rel=0.01)
    with pytest.raises(ValueError, match="tokens must be at least 1, got 0"):
        ring_period(durations, 0)
