"""The package as a program and as a library: `python -m oneloop`, and names that are imported when used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oneloop
from oneloop.cli.copy import copy
from oneloop.run.progress import Show

HEAVY = ("torch", "numpy", "pydantic", "transformers", "rich", "typer")
TINY = {
    "policy": {
        "language": {
            "model": {"small_llama": {"hidden_size": 32, "layers": 1, "heads": 2}},
            "max_new_tokens": 3,
        }
    },
    "plan": {
        "data": {"rows": {"rows": [{"prompt": "1+1=", "answer": "2"}]}},
        "groups": 1,
        "count": {"uniform": {"n": 2}},
    },
    "judge": [{"verifier": {"by": "exact"}}],
    "credit": ["group_relative"],
    "objective": ["policy_gradient"],
    "steps": 2,
}


def test_python_m_oneloop():
    done = subprocess.run([sys.executable, "-m", "oneloop", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"oneloop {oneloop.__version__}\n")


def test_the_import_loads_nothing_heavy():
    code = f"import sys, oneloop; print(oneloop.__version__, [n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{oneloop.__version__} []\n"


@pytest.mark.parametrize("name", oneloop.HOMES)
def test_every_public_name_is_there(name):
    assert callable(getattr(oneloop, name)) and name in dir(oneloop)


def test_the_names_are_typed_as_they_are_found():
    tree = ast.parse(Path(oneloop.__file__).read_text())
    imported = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"
    ]
    typed = {alias.name: node.module for node in imported for alias in node.names}
    typed.pop("import_module")
    assert typed == oneloop.HOMES


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="module 'oneloop' has no attribute 'trian'; it has .*train"):
        oneloop.trian  # noqa: B018


def test_train_and_generate_in_one_call_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = oneloop.train(TINY, ["seed=3"], show=Show(quiet=True))
    assert str(run.directory) == "runs/run" and len(run.history) == 2 and run.recipe.seed == 3
    assert run.report == "runs/run/report.html" and Path(run.report).exists()
    again = oneloop.train(TINY, show=Show(quiet=True))
    assert str(again.directory) == "runs/run-2", "a run is never written over"
    longer = oneloop.train(
        TINY, ["seed=3", "steps=3"], directory="runs/run", resume=True, show=Show(quiet=True)
    )
    assert len(longer.history) == 3
    texts = oneloop.generate("runs/run", "1+1=", 3, max_new_tokens=2)
    assert len(texts) == 3 and all(isinstance(found.text, str) for found in texts)
    with pytest.raises(ValueError, match="needs the directory of the run"):
        oneloop.train(TINY, resume=True)
    with pytest.raises(ValueError, match="takes no overrides, got seed=1"):
        oneloop.train(run.recipe, ["seed=1"])


def test_a_recipe_that_ships_is_one_for_python_too(tmp_path):
    copy("sft", tmp_path / "mine.yaml")
    assert oneloop.load_recipe(tmp_path / "mine.yaml")[0].name == "mine"


def test_a_ranking_prints_as_a_table():
    from oneloop.measure.ranking import from_long

    rows = {
        "model": ["a", "b"] * 20,
        "sample_id": [str(n // 2) for n in range(40)],
        "score": [1, 0] * 15 + [0, 1] * 5,
    }
    lines = str(oneloop.rank(from_long(rows))).splitlines()
    assert lines[0].split() == ["place", "model", "score", "95", "%", "interval", "places", "measured"]
    assert [line.split()[:2] for line in lines[1:3]] == [["1", "a"], ["2", "b"]] and "array" not in str(lines)
    assert lines[1].split()[-1] == "20" and " to " in lines[1]
