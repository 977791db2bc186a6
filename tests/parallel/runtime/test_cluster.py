"""Stages on a local Ray cluster: results are those of threads, a killed worker's act is done by another."""

import contextlib
import os
import signal
import sys
import threading
import time

import pytest

ray = pytest.importorskip("ray")

from oneloop.parallel.runtime import cluster as module  # noqa: E402
from oneloop.parallel.runtime.cluster import Cluster, NoCluster, WorkerDied  # noqa: E402
from oneloop.parallel.runtime.graph import Graph  # noqa: E402
from oneloop.parallel.runtime.threads import Ended, Running  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(local_ray):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
    said = []
    made = Cluster(says=said.append)
    made.said = said
    yield made
    made.close()


def doubled():
    return lambda x: (time.sleep(0.01), 2 * x)[1]


def increased(by):
    return lambda x: x + by


def failing(at):
    def judge_that_fails(x):
        if x == at:
            raise ZeroDivisionError(f"no verdict on {x}")
        return x

    return judge_that_fails


def killed_in_the_middle(folder):
    """Notes each item. Its process is killed at item 2 before that, at item 5 after it; once each."""

    def killed(x):
        try:
            os.close(os.open(f"{folder}/killed at {x}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def noted(x):
        if x == 2:
            killed(x)
        with open(f"{folder}/{x}", "a") as file:
            file.write("done\n")
        if x == 5:
            killed(x)
        return x

    return noted


def run(first, second, items):
    """What comes out of two stages, references fetched."""
    graph = Graph()
    graph.stage("in")
    graph.stage("first", *first)
    graph.stage("second", *second)
    graph.stage("out")
    for edge in (("in", "first"), ("first", "second"), ("second", "out")):
        graph.edge(*edge, registers=2)
    with Running(graph) as running:

        def feed():
            with contextlib.suppress(ZeroDivisionError):  # `get` raises it too
                for x in items:
                    running.put("in", x)
                running.finish("in")

        feeder = threading.Thread(target=feed)
        feeder.start()
        got = []
        try:
            while True:
                got.append(running.get("out"))
        except Ended:
            feeder.join(10)
            assert all(pool.max_held <= 2 for pool in running.network.pools.values())
            return [ray.get(x) if isinstance(x, ray.ObjectRef) else x for x in got]


def test_the_same_results_as_in_threads(cluster):
    remote = run(
        [cluster.worker("first", doubled, cpus=0.25) for _ in range(2)],
        [cluster.worker("second", increased, 7, cpus=0.25)],
        range(12),
    )
    assert remote == run([doubled()] * 2, [increased(7)], range(12)) == [2 * x + 7 for x in range(12)]


def test_a_killed_worker_is_replaced_and_each_result_is_taken_once(cluster, tmp_path):
    worker = cluster.worker("noting", killed_in_the_middle, str(tmp_path), cpus=0.25)
    process = worker.process()
    assert run([worker], [lambda x: x], range(8)) == list(range(8))
    assert worker.deaths == 2 and worker.process() != process
    said = [words for words in cluster.said if "worker 'noting' died; another one takes over" in words]
    assert len(said) == 2
    done = {x: (tmp_path / str(x)).read_text().count("done") for x in range(8)}
    # whether item 5 was done, nobody was told: it is done again
    assert done == {x: 2 if x == 5 else 1 for x in range(8)}


def test_workers_of_this_machine_get_as_much_of_it_as_the_update(cluster):
    worker = cluster.worker("nice", lambda: lambda x: os.nice(0) - x)
    assert ray.get(worker(os.nice(0))) == 0
    worker.close()


def test_an_error_over_there_is_raised_here_with_its_traceback(cluster):
    worker = cluster.worker("judge", failing, 3, cpus=0.25)
    with pytest.raises(ZeroDivisionError, match="no verdict on 3") as error:
        run([worker], [lambda x: x], range(6))
    assert "judge_that_fails" in str(error.value.__cause__)


def dying():
    return lambda x: os._exit(1)


def test_a_worker_that_always_dies_is_given_up(cluster, monkeypatch):
    monkeypatch.setattr(module, "RESTARTS", 1)
    with pytest.raises(WorkerDied, match="worker 'dying' died 2 times on one act"):
        cluster.worker("dying", dying, cpus=0.25)(1)


def test_too_many_workers_for_the_cluster_are_refused_instead_of_waited_for(cluster):
    with pytest.raises(
        NoCluster, match=r"worker 'large' needs 2 CPU, and [\d.]+ of the cluster's 2 are taken"
    ):
        cluster.worker("large", doubled, cpus=2)
    with pytest.raises(NoCluster, match="worker 'large' needs 1 GPU"):
        cluster.worker("large", doubled, cpus=0, gpus=1)


def broken():
    raise ValueError("no such judge\nand no other")


def test_a_worker_that_cannot_be_made_is_given_up_at_once_and_says_why_without_a_traceback(cluster):
    with pytest.raises(WorkerDied) as error:
        cluster.worker("broken", broken, cpus=0.25)(1)
    assert str(error.value) == "worker 'broken' cannot be started: ValueError: no such judge\nand no other"


def test_without_ray_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoCluster, match=r"backend 'ray' needs Ray: pip install 'oneloop\[cluster\]'"):
        Cluster()
