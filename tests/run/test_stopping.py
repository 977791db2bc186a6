"""A signal stops a run with a checkpoint after the step; a second one, or a long step, stops it at once."""

import shutil
import signal
import threading
import time

import pytest

from oneloop.run import directories, stopping
from oneloop.run.checkpoint import checkpoints
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.run.stopping import Stopping
from tests.support.training import assert_equal, lines, outcome, raw_recipe, recipe, train

OPTIONS = {
    "phases": {"reinforce": raw_recipe()["phases"]["reinforce"] | {"steps": 4}},
    "evaluate": None,
    "keep_checkpoints": 2,
}


class Signals(Show):
    """Gets a signal at a step, as if it came in the middle of it, and then goes on for a while."""

    def __init__(self, step, number, times=1, seconds=0.0):
        super().__init__(quiet=True)
        self.at, self.number, self.times, self.seconds = step, number, times, seconds
        self.said, self.ended = [], False

    def step(self, values):
        if values["step"] == self.at:
            for _ in range(self.times):
                signal.raise_signal(self.number)
            end = time.monotonic() + self.seconds
            while time.monotonic() < end:
                time.sleep(0.01)
            self.ended = True

    def says(self, sentence):
        self.said.append(sentence)


class Ended(KeyboardInterrupt):
    """SIGTERM came."""


@pytest.fixture
def handlers():
    """A handler of SIGTERM such as the command line has; both are as before at the end."""

    def stop(*_):
        raise Ended

    # a suite that was started in the background ignores Ctrl-C
    wanted = {signal.SIGTERM: stop, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    yield {number: signal.getsignal(number) for number in stopping.SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run left alone."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(directory, **OPTIONS)
    return directory


def names(directory):
    return [path.name for path in checkpoints(directory)]


@pytest.mark.parametrize(
    ("step", "number", "error", "there"),
    [
        (1, signal.SIGINT, KeyboardInterrupt, ["checkpoint-1"]),
        (2, signal.SIGTERM, Ended, ["checkpoint-2"]),
        (3, signal.SIGTERM, Ended, ["checkpoint-2", "checkpoint-3"]),
    ],
)
def test_a_signal_stops_with_a_checkpoint_after_the_step(
    whole, tmp_path, handlers, step, number, error, there
):
    show = Signals(step, number)
    with pytest.raises(KeyboardInterrupt) as raised:
        Run(recipe(**OPTIONS), tmp_path / "run", show=show).train()
    assert raised.type is error and names(tmp_path / "run") == there
    assert f"stopping after step {step}, which checkpoint-{step} holds" in show.said
    assert lines(tmp_path / "run")[-1]["step"] == step and (tmp_path / "run" / "report.html").exists()
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == handlers
    train(tmp_path / "run", resume=True, **OPTIONS)
    assert_equal(outcome(whole), outcome(tmp_path / "run"))
    assert names(tmp_path / "run") == names(whole) == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.parametrize(("times", "seconds"), [(2, 0.0), (1, 60.0)])
def test_a_second_signal_and_a_step_that_does_not_end_stop_at_once(
    tmp_path, handlers, monkeypatch, times, seconds
):
    monkeypatch.setattr(stopping, "PATIENCE", 0.1)
    show = Signals(3, signal.SIGTERM, times, seconds)
    with pytest.raises(Ended):
        Run(recipe(**OPTIONS), tmp_path / "run", show=show).train()
    assert not show.ended and names(tmp_path / "run") == ["checkpoint-2"]
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == handlers


def test_a_signal_at_the_last_step_stops_after_the_phase(whole, tmp_path, handlers):
    with pytest.raises(KeyboardInterrupt):
        Run(recipe(**OPTIONS), tmp_path / "run", show=Signals(4, signal.SIGINT)).train()
    assert names(tmp_path / "run") == names(whole)
    train(tmp_path / "run", resume=True, **OPTIONS)
    assert_equal(outcome(whole), outcome(tmp_path / "run"))


def test_a_signal_while_the_report_is_written_lets_it_end(whole, tmp_path, handlers, monkeypatch):
    writes = directories.write_report

    def report(directory):
        signal.raise_signal(signal.SIGTERM)
        return writes(directory)

    monkeypatch.setattr(directories, "write_report", report)
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    with pytest.raises(Ended):
        train(tmp_path / "run", resume=True, **OPTIONS)
    assert (tmp_path / "run" / "report.html").exists()
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == handlers


def test_signals_without_a_python_handler_and_other_threads_are_left_alone(handlers):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Stopping(print) as stop:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            assert stop.came == signal.SIGINT
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    inside = []

    def does():
        with Stopping(print) as stop:
            inside.append((stop.came, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=does)
    thread.start()
    thread.join()
    assert inside == [(None, signal.getsignal(signal.SIGINT))]


def test_the_first_signal_is_told_once_and_the_second_does_what_it_always_does(handlers):
    said = []
    heard = threading.Event()

    def says(text):
        said.append(text)
        heard.set()
        raise OSError("a terminal that is gone stops nothing")

    with Stopping(says, "after this picture") as stop:
        assert stop.came is None
        signal.raise_signal(signal.SIGINT)
        assert heard.wait(5) and stop.came == signal.SIGINT
        stop.in_time()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert said == ["SIGINT: stopping after this picture, or in 20 s without; once more stops at once"]
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == handlers


def test_a_signal_is_carried_out_by_the_handler_that_was_there_or_interrupts(handlers):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with Stopping(print) as stop:
            for number in (signal.SIGTERM, signal.SIGINT):
                with pytest.raises(KeyboardInterrupt):
                    stop.carry_out(number)
            assert stop.came is None  # neither was noted as a signal of its own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_a_signal_between_the_two_handlers_leaves_none_behind(handlers, monkeypatch):
    replace, calls = signal.signal, []

    def late(number, handler):
        calls.append(number)
        if len(calls) == 2:  # the second handler is not in its place yet
            signal.raise_signal(stopping.SIGNALS[1])
        return replace(number, handler)

    monkeypatch.setattr(stopping.signal, "signal", late)
    with pytest.raises(Ended), Stopping(print):
        pytest.fail("it is not entered")
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == handlers
