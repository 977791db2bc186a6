"""examples/credit.ipynb: its code cells run in order, and what it draws is tinted text."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "credit.ipynb"


def cells():
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def run(cell, namespace):
    """Runs a cell; gives the value of its last line where that is an expression, as a notebook does."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), namespace) if last else None


@pytest.mark.slow
def test_the_cells_run_in_order_and_tint_tokens(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    drawn = [run(cell, namespace) for cell in cells()]
    assert len(namespace["run"].history) == 50
    first, second = (value._repr_html_() for value in drawn if hasattr(value, "_repr_html_"))
    assert first.count("<div>") == second.count("<div>") == 8
    assert "#74aeea" in first and "#f0a35e" in first, "some were right and some were wrong"
    assert "leave_one_out none" in capsys.readouterr().out


def test_it_is_stored_without_outputs():
    found = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in found)
