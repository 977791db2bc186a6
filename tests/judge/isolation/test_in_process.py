import asyncio
import signal
import sys
import threading
import time

import pytest

from oneloop.judge.isolation.in_process import Live
from oneloop.judge.isolation.process import Outcome


def test_values_and_exceptions():
    seen = []

    def function(value):
        seen.append(threading.current_thread())
        return 6 / value

    good, bad, after = Live(function).run([2, 0, 3], 5)
    assert (good, after) == (Outcome(3.0), Outcome(2.0))
    assert bad.error.startswith("ZeroDivisionError: division by zero (test_in_process.py")
    assert set(seen) == {threading.main_thread()}


class Unprintable(Exception):
    def __str__(self):
        raise LookupError


def test_an_exception_that_cannot_be_printed_is_the_error_of_its_call():
    def function(value):
        if value:
            raise Unprintable
        return 1.0

    bad, good = Live(function).run([1, 0], 5)
    assert bad.error.startswith("Unprintable: it cannot be printed: LookupError (test_in_process.py")
    assert good == Outcome(1.0)


def test_a_late_call_is_interrupted_and_others_go_on():
    finished = []

    def function(value):
        if value == "hang":
            try:
                time.sleep(60)
            except Exception:  # whatever it catches of its own
                return "caught"
            finished.append(value)
        return value

    before = signal.getsignal(signal.SIGVTALRM)
    hung, after = Live(function).run(["hang", 1], 0.2)
    assert hung == Outcome(error="timed out after 0.2 s") and after == Outcome(1)
    many = Live(function).run(["hang"] * 9, 0.05)
    assert [outcome.error.split()[0] for outcome in many] == ["timed"] * 3 + ["not"] * 6
    assert finished == [] and signal.getsignal(signal.SIGVTALRM) == before


def test_a_function_may_handle_signals_as_in_any_program():
    before = signal.getsignal(signal.SIGUSR1)
    (answer,) = Live(lambda value: signal.signal(signal.SIGUSR1, before) == before).run([1], 5)
    assert answer == Outcome(True)


def test_exit_is_a_failure_of_the_call_and_ctrl_c_ends_the_run():
    failed, after = Live(lambda value: sys.exit(0) if value else 1).run([1, 0], 5)
    assert failed.error.startswith("SystemExit: 0") and after == Outcome(1)

    def interrupted(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Live(interrupted).run([1], 5)


def test_where_an_event_loop_runs_the_function_has_a_thread_of_its_own():
    async def inside():
        return Live(lambda value: asyncio.run(asyncio.sleep(0, value))).run([3], 5)

    assert asyncio.run(inside()) == [Outcome(3)]


def test_off_the_main_thread_a_hanging_call_is_left_behind():
    results = []
    thread = threading.Thread(target=lambda: results.append(_left_behind()))
    thread.start()
    thread.join(60)
    assert results == [True]


def _left_behind():
    release = threading.Event()

    def function(value):
        if value == "hang":
            release.wait(60)
        return value

    hung, after = Live(function).run(["hang", 1], 0.2)
    assert hung.error == "timed out after 0.2 s (its thread still runs)" and after == Outcome(1)
    many = Live(function).run(["hang"] * 9, 0.05)
    assert [outcome.error.split()[0] for outcome in many] == ["timed"] * 3 + ["not"] * 6
    release.set()
    return True
