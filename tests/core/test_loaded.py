"""loaded.py: a file named by its path is as it says now; a module is as Python imported it, and tells."""

import importlib
import sys

import pytest

from oneloop.core import loaded
from oneloop.core.rooms import build, find

MINE = '''
from oneloop.core.part import part

@part(writes=("actions.advantage",))
class Mine:
    """A part."""
    def __call__(self, rollouts):
        return 1
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_file_is_run_once_and_again_when_it_says_something_else(mine):
    name = f"{mine}:Mine"
    first = build("credit", name)
    assert type(first) is find("credit", name)
    mine.write_text(MINE.replace("return 1", "return 2"))  # as long as before, within the same second
    second = build("credit", name)
    assert first(None) == 1 and second(None) == 2
    before, now = (sys.modules[type(made).__module__] for made in (first, second))
    assert loaded.edited(before) and not loaded.edited(now)
    assert loaded.as_loaded(now) == loaded.digest(mine) != loaded.as_loaded(before)
    mine.write_text(MINE)
    assert type(first) is find("credit", name)


def test_a_module_tells_that_its_file_was_edited_until_it_is_reloaded(mine, monkeypatch):
    monkeypatch.syspath_prepend(mine.parent)
    first = build("credit", "mine.Mine")
    was = loaded.digest(mine)
    mine.write_text(MINE.replace("return 1", "return 20"))
    module = sys.modules["mine"]
    assert build("credit", "mine.Mine")(None) == first(None) == 1
    assert loaded.edited(module) and loaded.as_loaded(module) == was
    importlib.reload(module)
    assert build("credit", "mine.Mine")(None) == 20 and not loaded.edited(module)


def test_what_has_no_file_is_never_edited():
    assert loaded.as_loaded(sys) == "" and not loaded.edited(sys)
