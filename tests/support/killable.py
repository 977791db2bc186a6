"""Trains the tiny recipe in children that are killed with SIGKILL; started as a process of its own.

It has imported everything before it forks, so a child is there in milliseconds. It reads one JSON object a
line, {"directory", "event": kill at that file-system event, "seconds": kill after so long, "options": of the
recipe, "largest_file": bytes a file may have, "resume": whether to, "writers": how many at once}, and answers
{"status": exit status or -9, "events": file-system events seen, "error": what a run raised}.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

WATCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


class Events:
    """Counts what the process does to files below `directory`, and kills it at a given one."""

    def __init__(self, directory: str, kill_at: int | None):
        self.directory, self.kill_at, self.count = directory, kill_at, 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in WATCHED or self.directory not in str(arguments[0]):
            return
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def child(order: dict, answer: int) -> None:
    from tests.support.training import train

    os.fsync = lambda descriptor: None  # a write outlives the process that is killed; see tests/conftest.py
    if "largest_file" in order:  # a write beyond it fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], order["largest_file"]))
    events = Events(order["directory"], order.get("event"))
    error = None
    try:
        train(Path(order["directory"]), order.get("resume", True), **order.get("options", {}))
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
    modules = list(sys.modules) if "modules" in order else []
    said = {"status": 0, "events": events.count, "error": error, "modules": modules}
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(json.dumps(said).encode())
    os._exit(0)


def run(order: dict) -> dict | list[dict]:
    """Forks a child for one order and says what became of it; with "writers", that many at once."""
    if "writers" not in order:
        return finished(start(order), order)
    return [finished(each, order) for each in [start(order) for _ in range(order["writers"])]]


def start(order: dict) -> tuple[int, int]:
    """(the process, its answer's descriptor) of a child at work."""
    inside, outside = os.pipe()
    threads = torch.get_num_threads()
    process = os.fork()
    if process == 0:
        torch.set_num_threads(threads)  # a fork has one, and a checkpoint says how many there were
        child(order, outside)
    os.close(outside)
    return process, inside


def finished(started: tuple[int, int], order: dict) -> dict:
    """What became of a child, which is killed if the order says so."""
    process, inside = started
    if order.get("seconds") is not None:
        time.sleep(order["seconds"])
        os.kill(process, signal.SIGKILL)
    with os.fdopen(inside, "rb") as answer:
        said = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return json.loads(said) if said else {"status": status, "events": None, "error": None}


def import_what_a_run_imports() -> None:
    """Libraries import much at first use; only a child may use them, for a fork copies no threads."""
    import tests.support.training  # noqa: F401

    with tempfile.TemporaryDirectory() as directory:
        for name in run({"directory": f"{directory}/run", "modules": True})["modules"]:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def serve() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    replies, sys.stdout = sys.stdout, sys.stderr
    import_what_a_run_imports()
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    serve()
