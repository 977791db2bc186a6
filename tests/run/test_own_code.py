"""own_code.py: files of a user's own code are known by their contents; edited code that is used is said."""

import functools
import importlib
import sys
from pathlib import Path

import pytest

from oneloop.recipe.recipe import load_recipe
from oneloop.run.own_code import code, code_changes, out_of_date
from oneloop.run.run import Run
from tests.support.stopped import Heard
from tests.support.training import raw_recipe

REWARD = """
def right(completions, **_):
    return [float(len(text)) for text in completions]
"""
PART = '''
from oneloop.core.part import part
from oneloop.core.verdicts import Verdict, columns

@part(reads=("text",), writes=("reward.lengthy",))
class Lengthy:
    """The length of the text."""
    def __call__(self, rollouts):
        return rollouts.put(columns("lengthy", [Verdict(1.0 * len(text)) for text in rollouts.text]))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in {"reward.py": REWARD, "mine.py": REWARD, "parts.py": PART}.items():
        Path(name).write_text(text)
    return tmp_path


def recipe(*judges, **options):
    phase = raw_recipe()["phases"]["reinforce"] | {"steps": 1, "judge": list(judges)}
    return load_recipe(raw_recipe(phases={"grpo": phase}, evaluate=None, **options))[0]


def test_all_code_of_ones_own_is_known_by_its_content(folder):
    def inner(completions, **_):
        return [0.0] * len(completions)

    paths = ["reward.py:right", "mine.right", inner]
    judges = [{"function": {"path": path, "name": f"j{n}"}} for n, path in enumerate(paths)]
    found = code(recipe(*judges, *raw_recipe()["phases"]["reinforce"]["judge"]))
    assert sorted(found) == ["mine.py", "reward.py", "test_own_code.py", "toy_parts.py"]
    assert found["mine.py"] == found["reward.py"]


def edit(name: str, before: str, after: str) -> None:
    Path(name).write_text(Path(name).read_text().replace(before, after))


@pytest.mark.parametrize("judge", ["parts.py:Lengthy", {"function": {"path": "reward.py:right"}}])
def test_a_second_run_of_a_process_uses_the_file_as_it_is(folder, judge):
    rewards = []
    for directory in ("one", "two"):
        heard = Heard()
        run = Run(recipe(judge), Path(directory), show=heard)
        run.train()
        rewards.append(run.history[0]["reward"])
        assert not [words for words in heard.heard if "edited" in words]
        edit("parts.py", "1.0 *", "5.0 +")
        edit("reward.py", "float(", "5.0 + (")
    assert rewards[1] == pytest.approx(rewards[0] + 5)


def test_a_module_that_was_edited_is_used_as_it_was_and_that_is_said(folder):
    first = code(recipe("parts.Lengthy"))
    edit("parts.py", "1.0 *", "5.0 +")
    stale, heard = recipe("parts.Lengthy"), Heard()
    (sentence,) = out_of_date(stale)
    assert sentence.startswith(
        "parts.py was edited after this process had loaded it: the code of before is used"
    )
    Run(stale, Path("run"), show=heard).train()
    assert f"warn {sentence}" in heard.heard
    assert code(stale) == first  # a resume in a new process meets other code, and says so
    importlib.reload(sys.modules["parts"])
    assert code(recipe("parts.Lengthy")) != first and not out_of_date(recipe("parts.Lengthy"))


def test_changes_are_told_of_files_that_were_there_and_are_other_now():
    before = {"a.py": "1", "b.py": "2", "gone.py": "3"}
    assert code_changes(before, {"a.py": "1", "b.py": "9", "new.py": "4"}) == [
        "b.py was edited after the checkpoint"
    ]
    assert code_changes({}, before) == code_changes(before, {}) == []


def test_code_is_found_at_any_depth_and_by_contents_and_not_by_folder(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "reward.py").write_text("VALUE = 1\n")
    one = code({"deep": [("reward.py:right", 3), {"left": "out of data rows"}], "text": "no file.py:it"})
    assert list(one) == ["reward.py"]
    assert code(["reward.py:right"]) == one == code(("reward.py:another",))
    both = code(["reward.py:right", "sub/reward.py:VALUE"])
    assert list(both) == ["reward.py"] and both != one
    assert both == code(["sub/reward.py:VALUE", "reward.py:right"])  # in any order
    edit("sub/reward.py", "1", "2")
    assert code(["reward.py:right", "sub/reward.py:VALUE"]) != both
    # a data row may hold anything, and what is not there is no code
    assert code([{"prompt": "reward.py:right"}]) == code("missing.py:right") == {}


def test_wrapped_functions_and_callables_are_known_by_where_they_are_written(folder):
    class Callable:
        def __call__(self):
            return 0

    wrapped = functools.partial(functools.partial(edit, "a"), "b")
    for value in (wrapped, Callable(), Callable, edit):
        assert list(code(value)) == ["test_own_code.py"], value
    assert code(functools.partial(print)) == code(len) == code(3.0) == code(None) == {}
    assert code(load_recipe) == {}  # the library's own is known by its version
