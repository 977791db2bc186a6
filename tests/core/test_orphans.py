"""Processes whose parent is killed with SIGKILL end too."""

import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends programs with their parent")

PARENT = """
import multiprocessing, subprocess, sys, time
from oneloop.core.orphans import end_with_parent, tied

def child():
    end_with_parent()
    time.sleep(60)

if __name__ == "__main__":
    words = ["/bin/sleep", "60"]
    began = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    began.start()
    print(began.pid, subprocess.Popen(tied(words)).pid, subprocess.Popen(words).pid, flush=True)
    time.sleep(60)
"""


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return ") Z" not in file.read()


def test_they_end_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child, program, free = map(int, parent.stdout.readline().split())
    try:
        assert all(map(alive, (child, program, free)))
        parent.kill()
        parent.wait()
        end = time.monotonic() + 20
        while (alive(child) or alive(program)) and time.monotonic() < end:
            time.sleep(0.01)
        assert not alive(child) and not alive(program)
        assert alive(free)  # what happens without
    finally:
        os.kill(free, 9)
        parent.stdout.close()
