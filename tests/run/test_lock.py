"""One writer a directory: refused in words while it lives, free at once when it is dead."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from oneloop.run import lock
from oneloop.run.lock import InUse, Lock

HOLDER = """
import sys, time
from pathlib import Path
from oneloop.run.lock import InUse, Lock
sys.stdin.readline()
try:
    held = Lock(Path(sys.argv[1]))
except InUse as error:
    print(error, flush=True)
else:
    print("held", flush=True)
    sys.stdin.readline()
"""


class Process:
    """Another process that takes the lock when it is told to, and lets it go when it ends."""

    def __init__(self, directory, script: str = HOLDER):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", script, str(directory)], **pipes)

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> str:
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self.process.stdin.close()
        self.process.stdout.close()


def test_races_have_one_winner_each(tmp_path):
    for number in range(4):
        racers = [Process(tmp_path / f"run-{number}") for _ in range(3)]
        for racer in racers:
            racer.go()
        said = [racer.said() for racer in racers]
        assert said.count("held") == 1
        winner = racers[said.index("held")].process.pid
        refused = [words for words in said if words != "held"]
        for words in refused:
            assert f"run-{number} is being written by another run (host {socket.gethostname()}" in words
            assert f"process {winner}, since 20" in words and "--run" in words
        for racer in racers:
            racer.end()
        assert list((tmp_path / f"run-{number}").iterdir()) == [], "nothing is left of it"


def test_a_killed_writer_is_gone_at_once(tmp_path):
    for _ in range(3):
        holder = Process(tmp_path)
        holder.go()
        assert holder.said() == "held"
        with pytest.raises(InUse, match=f"process {holder.process.pid}"):
            Lock(tmp_path)
        holder.kill()
        Lock(tmp_path).release()


def test_children_do_not_keep_the_lock_of_a_killed_parent(tmp_path):
    forks = HOLDER.replace(
        'print("held"',
        """import os
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)  # it has let the file go by now
    time.sleep(60)
    print(child""",
    )
    parent = Process(tmp_path, forks)
    parent.go()
    child = int(parent.said())
    with pytest.raises(InUse):
        Lock(tmp_path)
    parent.process.kill()
    parent.process.wait(60)
    Lock(tmp_path).release()
    os.kill(child, signal.SIGKILL)
    parent.kill()


def test_a_fork_after_a_release_closes_nothing_of_others(tmp_path):
    held = Lock(tmp_path / "run")
    number = held._file
    held.release()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)  # takes the number that has become free
    try:
        assert other == number
        child = os.fork()
        if child == 0:
            os._exit(0 if os.write(other, b"!") == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        os.close(other)


def test_two_objects_of_one_process_do_not_share(tmp_path):
    first = Lock(tmp_path)
    with pytest.raises(InUse, match=f"process {os.getpid()}"):
        Lock(tmp_path)
    (tmp_path / lock.NAME).read_bytes()  # opening and closing the file lets nothing go
    with pytest.raises(InUse):
        Lock(tmp_path)
    first.release()
    first.release()
    second = Lock(tmp_path)
    del second
    Lock(tmp_path).release()


def other_host(path) -> None:
    path.write_text(json.dumps({"host": "node-7", "process": 12, "since": "2030-01-02 03:04:05 +0000"}))


def test_a_writer_on_another_host_that_gives_no_sign_is_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "STALE", 0.2)
    other_host(tmp_path / lock.NAME)
    said = []
    Lock(tmp_path, said.append).release()
    assert len(said) == 1
    assert "(host node-7, process 12, since 2030-01-02 03:04:05 +0000); waiting 0.2 s for a sign" in said[0]


def test_a_writer_on_another_host_that_gives_signs_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "STALE", 60.0)
    other_host(tmp_path / lock.NAME)
    monkeypatch.setattr(time, "sleep", lambda _: os.utime(tmp_path / lock.NAME, ns=(1, 1)))
    with pytest.raises(InUse, match="written by another run .host node-7, process 12"):
        Lock(tmp_path)
    assert json.loads((tmp_path / lock.NAME).read_text())["host"] == "node-7"


def test_a_damaged_lock_file_holds_nobody_up(tmp_path):
    for content in (b"", b"[1]", b"\xff", b"{"):
        (tmp_path / lock.NAME).write_bytes(content)
        Lock(tmp_path).release()


def test_a_directory_that_was_taken_over_is_noticed(tmp_path):
    held = Lock(tmp_path)
    held.check()
    other_host(tmp_path / lock.NAME)
    with pytest.raises(InUse, match="taken over .host node-7, process 12.* while this run stood still"):
        held.check()
    held.release()
    held = Lock(tmp_path)
    (tmp_path / lock.NAME).unlink()
    with pytest.raises(InUse, match="taken over while this run stood still"):
        held.check()
    other_host(tmp_path / lock.NAME)
    held.release()
    assert (tmp_path / lock.NAME).exists(), "the other's file stays"


def test_signs_of_life_are_given(tmp_path, monkeypatch):
    beaten = threading.Event()
    monkeypatch.setattr(lock, "BEAT", 0.01)
    monkeypatch.setattr(os, "utime", lambda file: beaten.set())
    held = Lock(tmp_path)
    assert beaten.wait(60)
    held.release()


def test_a_file_system_without_locks_is_said_and_the_file_is_the_guard(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    said = []
    held = Lock(tmp_path, said.append)
    assert said == [f"the file system of {tmp_path} has no locks; start no second run there"]
    with pytest.raises(InUse, match=f"process {os.getpid()}"):
        Lock(tmp_path)
    held.release()
    Lock(tmp_path).release()


@pytest.mark.parametrize("where", ["open", "flock", "_outwait", "ftruncate"])
def test_a_signal_while_it_is_taken_leaves_no_file(tmp_path, monkeypatch, where):
    owner = {"flock": lock.fcntl, "_outwait": Lock}.get(where, lock.os)
    real = getattr(owner, where)

    def called(*inputs):
        monkeypatch.setattr(owner, where, real)
        signal.raise_signal(signal.SIGINT)
        return real(*inputs)

    monkeypatch.setattr(owner, where, called)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        Lock(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    assert len(before) == len(os.listdir("/proc/self/fd"))
    Lock(tmp_path / "run").release()


def test_a_refused_writer_leaves_the_file_of_the_other(tmp_path):
    held = Lock(tmp_path)
    with pytest.raises(InUse):
        Lock(tmp_path)
    assert (tmp_path / lock.NAME).exists()
    held.check()
    held.release()
    assert not (tmp_path / lock.NAME).exists()
