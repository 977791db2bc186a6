import threading
import time

from oneloop.judge.isolation.in_process import Live
from oneloop.judge.isolation.sandbox import Outcome


def test_values_and_exceptions():
    seen = []

    def function(value):
        seen.append(threading.current_thread())
        return 6 / value

    good, bad, after = Live(function).run([2, 0, 3], 5)
    assert (good, after) == (Outcome(3.0), Outcome(2.0))
    assert bad.error.startswith("ZeroDivisionError: division by zero (test_in_process.py")
    assert threading.main_thread() not in seen


def test_a_hanging_call_is_left_behind():
    release = threading.Event()

    def function(value):
        if value == "hang":
            release.wait(60)
        return value

    start = time.monotonic()
    hung, after = Live(function).run(["hang", 1], 0.2)
    assert hung.error == "timed out after 0.2 s (its thread still runs)" and after == Outcome(1)
    many = Live(function).run(["hang"] * 9, 0.05)
    assert [outcome.error.split()[0] for outcome in many] == ["timed"] * 3 + ["not"] * 6
    assert time.monotonic() - start < 30
    release.set()
