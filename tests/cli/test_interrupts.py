"""SIGTERM is exit code 143 and SIGINT 130, whenever in a command they come."""

import os
import signal
import subprocess
import sys

import pytest
import yaml

from oneloop.cli import train as train_command
from oneloop.cli.interrupts import interrupts_exit
from oneloop.run import directories
from oneloop.run.run import Run
from tests.cli.test_main import TINY

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def strikes(number, then):
    """`then`, with a signal to this process before it."""

    def does(*args, **kwargs):
        os.kill(os.getpid(), number)
        return then(*args, **kwargs)

    return does


@pytest.fixture(autouse=True)
def handled():
    """SIGINT as it is in a terminal: a shell has what it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", CODES)
def test_before_there_is_a_run(here, oneloop, monkeypatch, number):
    for name in ("load", "estimate", "Run", "summary"):
        with monkeypatch.context() as patch:
            patch.setattr(train_command, name, strikes(number, getattr(train_command, name)))
            code, out, err = oneloop("train", "tiny.yaml", "evaluate=null", "--run", f"run-{name}")
        assert code == CODES[number], name
        assert "Traceback" not in out + err
        assert not list(here.rglob("writer.lock")), name


@pytest.mark.parametrize("number", CODES)
def test_twice(here, oneloop, monkeypatch, number):
    """A second signal, in the report of a stopped run, changes neither the code nor what is said."""
    monkeypatch.setattr(Run, "_steps", strikes(number, lambda *_: None))
    monkeypatch.setattr(directories, "write_report", strikes(number, lambda *_: None))
    code, out, err = oneloop("train", "tiny.yaml", "evaluate=null")
    assert code == CODES[number]
    assert "stopped. To go on: oneloop train runs/tiny/recipe.yaml --resume" in out
    assert not list(here.rglob("writer.lock"))
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(train_command, "summary", strikes(number, lambda *_: None))
    code, out, err = oneloop("train", "tiny.yaml", "evaluate=null", "--resume")
    assert code == CODES[number], "in the summary of a run that has ended"


def test_the_handler_is_put_back_and_other_ends_pass():
    before = signal.getsignal(signal.SIGTERM)
    for error in (SystemExit(130), SystemExit(2), ValueError("x")):
        with pytest.raises(type(error)) as raised, interrupts_exit():
            raise error
        assert raised.value.args == error.args
    assert signal.getsignal(signal.SIGTERM) is before


ENDS = """
import os, signal, sys
import atexit
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(lambda: os.kill(os.getpid(), signal.{second}))
from oneloop.cli import main
main.app = lambda **_: os.kill(os.getpid(), signal.{first})
main.main()
"""


@pytest.mark.parametrize(("first", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
def test_a_signal_while_the_interpreter_ends_is_no_traceback(first, second, code):
    script = ENDS.format(first=first, second=second)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (code, "")
