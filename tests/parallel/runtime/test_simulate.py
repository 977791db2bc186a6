"""Virtual time: worked example D of the period, the bound on staleness, a thousand workers."""

import random

import pytest

from oneloop.parallel.runtime.graph import Graph
from oneloop.parallel.runtime.period import chain, period
from oneloop.parallel.runtime.simulate import Deadlock, simulate


@pytest.mark.parametrize(
    ("durations", "registers", "expected", "makespan"),
    [
        ((4, 3, 5), (2, 2), 5, 1007),
        ((4, 3, 5), (1, 2), 7, 1405),
        ((4, 3, 5), (2, 1), 8, 1604),
        ((1, 1, 1), (1, 1), 2, 401),
        ((1, 1, 1), (2, 2), 1, 202),
    ],
)
def test_worked_example_of_the_period(durations, registers, expected, makespan):
    trace = simulate(chain("abc", registers), dict(zip("abc", durations, strict=True)), 200)
    assert trace.period("c") == expected == period(durations, registers)
    assert trace.makespan == makespan
    assert all(trace.max_held[edge] <= count for edge, count in zip(trace.max_held, registers, strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_period_formula_holds_for_random_chains(seed):
    choose = random.Random(seed)
    stages = choose.randint(2, 6)
    names = [f"s{n}" for n in range(stages)]
    durations = [choose.uniform(0.1, 5) for _ in names]
    registers = [choose.randint(1, 4) for _ in names[1:]]
    trace = simulate(chain(names, registers), dict(zip(names, durations, strict=True)), 600)
    assert trace.period(names[-1]) == pytest.approx(period(durations, registers), rel=0.01)


def groups(credits, batch, workers, order="strict"):
    """Groups sampled by `workers`, and an update of `batch` of them; at most `credits` groups between their
    admission and the end of the update that used them."""
    graph = Graph()
    graph.stage("rollout", workers=workers, order=order)
    graph.stage("update")
    graph.edge("rollout", "update", registers=credits, take=batch)
    graph.edge("update", "rollout", control=True, initial=credits, give=batch)
    return graph


def staleness(trace, batch):
    """Of each group: updates that ended between the start of its sampling and that of its own update."""
    found = []
    for group, start in enumerate(trace.starts["rollout"]):
        update = group // batch
        if update < len(trace.ends["update"]):
            found.append(update - sum(end <= start for end in trace.ends["update"]))
    return found


def test_strict_order_bounds_staleness_in_ten_thousand_random_schedules():
    choose, worst = random.Random(0), {}
    for _ in range(10_000):
        batch = choose.randint(1, 4)
        credits = batch * choose.randint(1, 3) + choose.randrange(batch)
        sigma, slow = choose.choice([0.0, 0.5, 1.5]), choose.choice([0.05, 1.0, 4.0])
        graph = groups(credits, batch, workers=choose.randint(1, credits))
        durations = {
            "rollout": lambda _, sigma=sigma: choose.lognormvariate(0, sigma),
            "update": lambda _, slow=slow: slow * choose.lognormvariate(0, 0.5),
        }
        trace = simulate(graph, durations, 5 * batch, counted=False)
        bound = (credits - 1) // batch
        seen = max(staleness(trace, batch))
        assert seen <= bound
        worst[bound] = max(worst.get(bound, 0), seen)
    assert worst[1] == 1 and worst[2] == 2  # the bound is reached, so it is not just never tried


def test_a_thousand_workers():
    graph = groups(2000, 500, workers=1000)
    trace = simulate(graph, {"rollout": 10.0, "update": 1.0}, 10_000)
    # 1000 at a time in 10 s each; the last two updates follow
    assert trace.makespan == pytest.approx(102.0)
    assert max(staleness(trace, 500)) <= 3
    assert trace.max_held["rollout -> update"] <= 2000


def test_too_few_credits_for_one_batch_are_a_deadlock_that_says_who_waits():
    graph = Graph()
    graph.stage("rollout")
    graph.stage("update")
    graph.edge("rollout", "update", registers=4, take=4)
    graph.edge("update", "rollout", control=True, registers=4, initial=3, give=4)
    with pytest.raises(Deadlock, match="rollout waits for update, update waits for rollout"):
        simulate(graph, {"rollout": 1.0}, 8)


def test_unknown_stages_are_named():
    with pytest.raises(ValueError, match="durations of judge: the stages are a, b"):
        simulate(chain("ab", [2]), {"judge": 1.0}, 3)


def test_a_wait_is_counted_for_the_stage_at_the_end_of_the_chain():
    trace = simulate(chain("abc", [2, 2]), {"a": 1.0, "b": 0.25, "c": 0.25}, 100)
    assert trace.tally.busy == pytest.approx({"a": 100.0, "b": 25.0, "c": 25.0})
    # b passes each item on 0.25 s after a made it; then both wait for a
    assert trace.tally.waited["c", "b"] == pytest.approx(25.0)
    assert trace.tally.waited["c", "a"] == pytest.approx(1.0 + 99 * 0.5)
    assert trace.tally.sentence("c", 100.0) == "c waited for a 50 %"
