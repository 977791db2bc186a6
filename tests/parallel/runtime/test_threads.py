"""The protocol in threads: same results as one after the other, errors as they were, nothing lost."""

import random
import threading
import time
import traceback

import pytest

from oneloop.parallel.runtime.graph import Graph
from oneloop.parallel.runtime.threads import Ended, Running


def line(work, registers=2, workers=1, order="strict"):
    graph = Graph()
    graph.stage("in")
    graph.stage("work", work, workers=workers, order=order)
    graph.stage("out")
    graph.edge("in", "work", registers=registers)
    graph.edge("work", "out", registers=registers)
    return graph


def feed(running, items):
    def put():
        for item in items:
            running.put("in", item)
        running.finish("in")

    thread = threading.Thread(target=put)
    thread.start()
    return thread


def drain(running):
    got = []
    try:
        while True:
            got.append(running.get("out"))
    except Ended:
        return got


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("registers", [1, 3])
def test_results_come_in_order_and_registers_are_kept(workers, registers):
    wait = random.Random(0)
    running = Running(line(lambda x: (time.sleep(wait.random() / 500), x * x)[1], registers, workers))
    running.network.watch = lambda kind, name: [pool.check() for pool in running.network.pools.values()]
    with running:
        feeder = feed(running, range(60))
        assert drain(running) == [x * x for x in range(60)]
        feeder.join(10)
        assert running.network.done
        assert all(pool.max_held <= registers for pool in running.network.pools.values())


def test_back_pressure_stops_the_source():
    seen = []
    with Running(line(lambda x: seen.append(x) or x, registers=2)) as running:
        feeder = feed(running, range(50))
        time.sleep(0.1)
        # one is never begun without a register to fill: 2 wait behind `work`, 2 before it
        assert seen == [0, 1] and running.network.actors["in"].begun == 4
        assert len(drain(running)) == 50
        feeder.join(10)


def test_an_error_arrives_with_its_traceback_and_what_was_on_its_way_is_handed_back():
    def judge_that_fails(x):
        if x == 3:
            raise ZeroDivisionError("in the judge")
        return -x

    running = Running(line(judge_that_fails, registers=3))
    for x in range(3):
        running.put("in", x)
    running.settle()
    assert running.get("out") == 0
    running.put("in", 3)
    with pytest.raises(ZeroDivisionError, match="in the judge") as error:
        for _ in range(5):
            running.get("out")
    assert "judge_that_fails" in "".join(traceback.format_tb(error.value.__traceback__))
    left = [each.payload for each in running.close()]
    assert 3 in left and set(left) <= {-1, -2, 3}


def test_close_lets_acts_end_and_hands_their_results_back():
    begun = threading.Event()

    def slow(x):
        begun.set()
        time.sleep(0.1)
        return x + 100

    running = Running(line(slow))
    running.put("in", 1)
    running.put("in", 2)
    begun.wait(10)
    assert sorted(each.payload for each in running.close()) == [2, 101]
    assert not any(thread.is_alive() for thread in running._threads)


def test_settle_waits_for_all_that_needs_no_caller():
    with Running(line(lambda x: (time.sleep(0.02), x)[1], registers=3)) as running:
        for x in range(3):
            running.put("in", x)
        running.settle()
        assert running.network.pools["work -> out"].held == 3 and running.ready("out")


def test_several_workers_each_have_their_own_function():
    graph = Graph()
    graph.stage("in")
    meet = threading.Barrier(2, timeout=10)
    graph.stage("work", *(lambda x, n=n: (meet.wait(), (n, x))[1] for n in range(2)))
    graph.stage("out")
    graph.edge("in", "work")
    graph.edge("work", "out")
    with Running(graph) as running:
        feeder = feed(running, range(6))
        got = drain(running)
        feeder.join(10)
    assert [x for _, x in got] == list(range(6)) and {n for n, _ in got} == {0, 1}


def test_get_after_the_last_is_ended_and_waits_are_counted():
    with Running(line(lambda x: (time.sleep(0.02), x)[1])) as running:
        running.put("in", 1)
        running.finish("in")
        assert drain(running) == [1]
        assert running.tally.waited["out", "work"] > 0.01
