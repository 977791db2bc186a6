"""examples/loop.py runs, and the model learns."""

import runpy
from pathlib import Path

import pytest

LOOP = Path(__file__).parents[2] / "examples" / "loop.py"


@pytest.mark.slow
def test_the_loop_learns_to_add(capsys):
    right = runpy.run_path(str(LOOP))["main"](steps=30)
    assert len(right) == 30
    assert sum(right[-5:]) > sum(right[:5]), "reinforcement makes it right more often"
    assert capsys.readouterr().out.startswith("step 1: ")


def test_it_is_short():
    assert len(LOOP.read_text().splitlines()) <= 100
