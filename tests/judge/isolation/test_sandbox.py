import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from oneloop.core.judge_limits import JudgeLimits
from oneloop.judge.isolation import messages
from oneloop.judge.isolation.confinement import LAYERS
from oneloop.judge.isolation.process import CannotStart, Outcome
from oneloop.judge.isolation.sandbox import Sandbox, shared

FILE = str(Path(__file__).parent / "sandboxed.py")
BEHAVE = f"{FILE}:behave"


@pytest.fixture(scope="module")
def sandbox():
    made = Sandbox(BEHAVE, memory_mb=256)
    yield made
    made.close()


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid):
    """All processes below `pid`, as far as they are its children's children and so on."""
    below = children(pid)
    return [*below, *(number for child in below for number in descendants(child))]


def eventually(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def ended(pid):
    """Whether the process is gone, or a zombie nobody has asked after yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("sleep", "timed out after 0.5 s"),
        ("hang in C", "timed out after 0.5 s"),
        ("memory", r"out of memory \(more than 256 MB\)"),
        ("leak", r"out of memory \(more than 256 MB\)"),
        ("crash", r"the process ended \(signal SIGSEGV\)"),
        ("interrupt", r"KeyboardInterrupt: .*\(sandboxed.py, line \d+\)"),
        ("exit", r"SystemExit: 3 \(sandboxed.py, line \d+\)"),
        ("vanish", r"the process ended \(exit code 4\)"),
        ("raise", r"KeyError: 'no such thing' \(sandboxed.py, line \d+\)"),
        ("object", "TypeError: cannot send a object"),
    ],
)
def test_a_failing_call_costs_itself_alone(sandbox, what, error):
    before, failed, after = sandbox.run(["a", what, "b"], 0.5 if "after" in error else 10)
    assert (before, after) == (Outcome("a"), Outcome("b"))
    assert failed.value is None
    with pytest.raises(AssertionError, match=error):
        raise AssertionError(failed.error)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("connect", "; a worker has no network without limits.network: true"),
        ("open", "; a worker reads no files but Python's, those beside its function, and limits.files"),
        ("variable", "; a worker is told no variables but those in limits.environment"),
        ("raise", ""),
    ],
)
def test_what_isolation_denies_says_what_limit_grants_it(sandbox, what, error):
    (failed,) = sandbox.run([what], 10)
    assert failed.error.endswith(f"){error}")


def test_values_come_back_as_they_were(sandbox):
    values = [
        None,
        True,
        3,
        -0.5,
        "ü\n",
        [1, [2]],
        {"a": None},
        (1, (2, "x")),
        {3: "three", (1, 2): 4},
        {"$x": 1},
    ]
    assert [outcome.value for outcome in sandbox.run(values, 10)] == values
    (nan, infinite) = sandbox.run([math.nan, math.inf], 10)
    assert math.isnan(nan.value) and infinite.value == math.inf


def test_arrays_and_tensors_come_back_as_arrays(sandbox):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    back, tensor, scalar = sandbox.run([array, torch.eye(2), torch.tensor(3)], 10)
    np.testing.assert_array_equal(back.value, array)
    np.testing.assert_array_equal(tensor.value, np.eye(2, dtype=np.float32))
    assert scalar.value == 3


def test_an_argument_that_cannot_be_sent_is_refused(sandbox):
    with pytest.raises(TypeError, match="cannot send a object"):
        sandbox.run([object()], 10)


def test_printing_does_not_disturb_the_answers(sandbox):
    assert [outcome.value for outcome in sandbox.run(["print", "a", "print", "b"], 10)] == [
        "print",
        "a",
        "print",
        "b",
    ]


def test_the_worker_is_used_again_and_has_not_loaded_torch(sandbox):
    first, loaded = sandbox.run(["pid", "loaded"], 10)
    (second,) = sandbox.run(["pid"], 10)
    assert first == second and first.value != os.getpid()
    assert loaded.value is False


def test_a_killed_worker_is_replaced(sandbox):
    sandbox.run(["a"], 10)
    watcher = sandbox._workers[0]._process.pid
    (worker,) = children(watcher)
    os.kill(worker, signal.SIGKILL)
    (failed,) = sandbox.run(["a"], 10)
    assert failed.error == "the process ended (signal SIGKILL)"
    assert sandbox.run(["a"], 10) == [Outcome("a")]


def test_a_large_message_passes_both_ways(sandbox):
    text = "x" * 5_000_000
    assert sandbox.run([text], 10)[0].value == text


def test_it_works_from_other_threads_at_once(sandbox):
    results = {}

    def ask(number):
        results[number] = [outcome.value for outcome in sandbox.run([number] * 20, 10)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [number] * 20 for number in range(4)}
    assert sandbox.run(["thread"], 10)[0].value is True  # the function itself runs in a main thread


def test_a_dead_service_does_not_hang_every_call(sandbox):
    outcomes = sandbox.run(["sleep"] * 50, 0.2)
    assert [outcome.error for outcome in outcomes[:3]] == ["timed out after 0.2 s"] * 3
    assert {outcome.error for outcome in outcomes[3:]} == {"not tried: the last 3 calls timed out"}


def test_a_service_that_has_answered_is_not_given_up(sandbox):
    outcomes = sandbox.run(["a", *["sleep"] * 4, "b"], 0.2)
    assert [outcome.error for outcome in outcomes] == [None, *["timed out after 0.2 s"] * 4, None]


def test_several_workers_keep_the_order():
    sandbox = Sandbox(BEHAVE, workers=2)
    values = [*range(40)]
    values[7] = "crash"
    outcomes = sandbox.run(values, 10)
    assert [outcome.value for outcome in outcomes] == [v if v != "crash" else None for v in values]
    pids = [
        pid
        for made in sandbox._workers
        if made
        for pid in (made._process.pid, *descendants(made._process.pid))
    ]
    assert len(pids) in (2, 4)
    sandbox.close()
    assert all(ended(pid) for pid in pids)


def test_setup_and_adapter():
    sandbox = Sandbox(f"{FILE}:times", (3,), adapter=f"{FILE}:twice")
    assert sandbox.run([5], 10) == [Outcome(45)]
    sandbox.close()


def test_same_function_same_sandbox():
    assert shared(BEHAVE, JudgeLimits(timeout=1)) is shared(BEHAVE, JudgeLimits())
    assert shared(BEHAVE, JudgeLimits()) is not shared(BEHAVE, JudgeLimits(memory_mb=99))
    assert shared(BEHAVE, JudgeLimits()) is not shared(BEHAVE, JudgeLimits(network=True))


def test_an_edited_file_gets_a_sandbox_of_its_own_and_older_ones_keep_what_it_said(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import os\ndef f(dies):\n    return os._exit(3) if dies else 1\n")
    before = shared(f"{file}:f", JudgeLimits())
    assert before.run([False], 10) == [Outcome(1)] and shared(f"{file}:f", JudgeLimits()) is before
    file.write_text(file.read_text().replace("1", "2"))
    now = shared(f"{file}:f", JudgeLimits())
    assert now.run([False], 10) == [Outcome(2)]
    died, after = before.run([True, False], 10)
    assert died.error == "the process ended (exit code 3)" and after == Outcome(1)
    for each in (before, now):
        each.close()


def test_access_to_what_is_not_there_is_a_fault_of_the_recipe():
    with pytest.raises(CannotStart, match="limits.files: no such file: /nowhere/data"):
        shared(BEHAVE, JudgeLimits(files=("/nowhere/data",)))
    with pytest.raises(CannotStart, match="limits.environment: the variable NO_SUCH is not set"):
        shared(BEHAVE, JudgeLimits(environment=("NO_SUCH",)))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{FILE}:missing", "AttributeError: .*missing"),
        ("no_such_package.module.f", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("nowhere.py:f", "FileNotFoundError"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_a_fault_of_the_recipe(path, message):
    with pytest.raises(CannotStart, match=message):
        Sandbox(path).run([1], 10)


def test_an_import_that_ends_the_process_is_told(tmp_path):
    (tmp_path / "bad.py").write_text("import os; os._exit(7)")
    with pytest.raises(CannotStart, match="importing it ended the process .exit code 7"):
        Sandbox(f"{tmp_path / 'bad.py'}:f").run([1], 10)


@pytest.mark.parametrize("error", [BrokenPipeError, KeyboardInterrupt])
def test_a_worker_that_ends_before_it_is_greeted_leaves_nothing(tmp_path, monkeypatch, error):
    before = children(os.getpid())

    def started():
        return [pid for pid in children(os.getpid()) if pid not in before]

    def ends(*_):
        assert list(tmp_path.iterdir())
        for worker in started():
            os.kill(worker, signal.SIGKILL)  # it has no watcher yet, who would remove its folder
        raise error

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(messages, "send", ends)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else CannotStart):
        Sandbox("time.sleep").run([0], 10)
    assert list(tmp_path.iterdir()) == [] == started()


@pytest.mark.parametrize("layers", [LAYERS, ()], ids=["shut in", "bare"])
def test_workers_and_what_they_started_end_with_a_run_that_is_killed(layers):
    program = f"""
from oneloop.core.judge_limits import JudgeLimits
from oneloop.judge.isolation.confinement import LAYERS
from oneloop.judge.isolation.sandbox import Sandbox
sandbox = Sandbox({BEHAVE!r}, layers={layers!r})
sandbox.run(["children"], 10)
print(sandbox._workers[0]._process.pid, flush=True)
sandbox.run(["hang in C"], 100)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    watcher = int(parent.stdout.readline())
    # the worker, its child, a grandchild, and one in a session of its own
    assert eventually(lambda: len(descendants(watcher)) == 4)
    pids = [watcher, *descendants(watcher)]
    assert not any(ended(pid) for pid in pids)
    parent.kill()
    parent.wait()
    assert eventually(lambda: all(ended(pid) for pid in pids))


@pytest.mark.parametrize("greeted", [False, True], ids=["before it is greeted", "after"])
def test_a_worker_that_is_starting_ends_with_a_run_that_is_killed(greeted):
    program = f"""
import time
from oneloop.judge.isolation.process import Worker
from oneloop.judge.isolation.sandbox import Sandbox
greet = Worker._greet
def tells(self, hello):
    print(self._process.pid, flush=True)
    return greet(self, hello) if {greeted} else time.sleep(60)
Worker._greet = tells
Sandbox("time.sleep").run([60], 60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    assert parent.communicate()[1] == ""  # until the worker, which has the same stderr, is gone
    assert eventually(lambda: ended(worker))


def test_a_worker_whose_watcher_ended_before_it_was_followed_ends():
    program = """
import os, signal, time
from oneloop.judge.isolation import watch
def too_late(option, *_):
    if option == watch.PR_SET_PDEATHSIG:
        watcher = os.getppid()
        os.kill(watcher, signal.SIGKILL)
        while os.getppid() == watcher:
            time.sleep(0.001)
watch.prctl = too_late
watch.fork_watched(os.pipe()[0], "none")
print("goes on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")
