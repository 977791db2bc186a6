"""Folders for a while: gone with their owner, or removed by the next process where that was killed."""

import os
import subprocess
import sys
import time

from oneloop.core import scratch
from oneloop.core.scratch import PREFIX, YOUNG, Scratch

OWNER = """
import sys, time
from oneloop.core.scratch import Scratch
print(Scratch(sys.argv[1]).path, flush=True)
time.sleep(60)
"""


def aged(path):
    os.utime(path, (time.time() - 2 * YOUNG,) * 2)


def test_folders_without_an_owner_are_removed_and_no_others(tmp_path):
    words = [sys.executable, "-c", OWNER, str(tmp_path)]
    owners = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    killed, alive = (owner.stdout.readline().strip() for owner in owners)
    (tmp_path / "of-others").mkdir()
    (tmp_path / f"{PREFIX}young").mkdir()
    for path in (killed, alive, tmp_path / "of-others"):
        aged(path)
    owners[0].kill()
    owners[0].wait()
    scratch.remove_ownerless.cache_clear()
    with Scratch(str(tmp_path)) as mine:
        there = {alive, mine, str(tmp_path / "of-others"), str(tmp_path / f"{PREFIX}young")}
        assert {str(path) for path in tmp_path.iterdir()} == there
    assert not os.path.exists(mine)
    owners[1].kill()
    owners[1].communicate()
    owners[0].stdout.close()


def test_removing_twice_or_what_is_gone_does_nothing(tmp_path):
    made = Scratch(str(tmp_path))
    os.rmdir(made.path)
    made.remove()
    made.remove()
    assert list(tmp_path.iterdir()) == []
