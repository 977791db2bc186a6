"""`oneloop parts`: every kind, every part and every option is listed with its meaning."""

import pytest

from oneloop.core.rooms import ROOMS, find, names
from oneloop.recipe.fields import init_fields
from tests.recipe.test_recipe import MINE


def test_all_kinds_with_their_parts(oneloop):
    code, out, _ = oneloop("parts")
    assert code == 0
    assert all(f"\n{kind} " in out for kind in ROOMS)
    assert all(name in out for kind in ROOMS for name in names(kind))


@pytest.mark.parametrize("kind", ROOMS)
def test_a_line_for_each_part_and_one_for_each_option(oneloop, kind):
    code, out, _ = oneloop("parts", kind)
    assert code == 0 and all(f"\n{name} " in f"\n{out}" for name in names(kind))
    for name in names(kind):
        code, out, _ = oneloop("parts", kind, name)
        assert code == 0 and f"{kind} part {name}: " in out
        assert all(f"\n{option} " in out for option in init_fields(find(kind, name))), out


def test_defaults_are_written_as_in_a_recipe(oneloop):
    _, out, _ = oneloop("parts", "credit", "group_relative")
    words = [line.split()[:2] for line in out.splitlines()]
    assert ["centre", "mean"] in words and ["truncated_in_baseline", "true"] in words
    assert "reads: reward" in out and "writes: actions.advantage" in out and "arXiv 2402.03300" in out
    _, out, _ = oneloop("parts", "policy", "language")
    assert ["model", "required"] in [line.split()[:2] for line in out.splitlines()]


def test_a_part_of_ones_own(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere.py").write_text(MINE)
    code, out, _ = oneloop("parts", "credit", "elsewhere.py:Mine")
    assert code == 0 and "\nboost " in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("credt",), "no kind of part is called 'credt'; did you mean 'credit'?"),
        (("credit", "group_relativ"), "no credit part is called 'group_relativ'; did you mean"),
        (("credit", "verifier"), "it is a judge part"),
    ],
)
def test_misspelt_names(oneloop, words, said):
    code, _, err = oneloop("parts", *words)
    assert code == 2 and said in " ".join(err.split())
