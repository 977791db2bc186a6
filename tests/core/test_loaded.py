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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys\nsys.exit(3)\n", "cannot be imported: SystemExit: 3"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def broken(:\n", "cannot be imported: SyntaxError"),
        ("raise RuntimeError('no card')\n", "cannot be imported: RuntimeError: no card"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused_and_run_again_once_mended(mine, text, told):
    before = set(sys.modules)
    mine.write_text(text)
    for _ in range(2):  # nothing half made is found the second time
        with pytest.raises(ImportError, match=told):
            loaded.from_file(mine)
    assert set(sys.modules) == before
    mine.write_text("VALUE = 7\n")
    module = loaded.from_file(mine)
    try:
        assert module.VALUE == 7 and module is loaded.from_file(mine) and not loaded.edited(module)
        mine.unlink()  # a file that is gone says nothing else than before
        assert not loaded.edited(module)
        with pytest.raises(ImportError, match=r"no such file: .*mine\.py .*'file\.py:Class'"):
            loaded.from_file(mine)
    finally:
        del sys.modules[module.__name__]


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path):
    made = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("WHERE = __file__\n")
        made.append(loaded.from_file(tmp_path / folder / "mine.py"))
    through = loaded.from_file(tmp_path / "one" / ".." / "two" / "mine.py")
    try:
        assert [module.WHERE for module in made] == [
            str(tmp_path / folder / "mine.py") for folder in ("one", "two")
        ]
        assert through is made[1] is not made[0]
        assert all(module.__name__.startswith(loaded.FILE_MODULE) for module in made)
    finally:
        for module in made:
            del sys.modules[module.__name__]
