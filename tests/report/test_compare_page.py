"""The page of a comparison: complete, self-contained, and honest where there is no number."""

import re

import pytest

from oneloop.measure.statistics.comparison import compared, sentence
from oneloop.report.compare_page import amount, difference, ranked, render, score
from tests.measure.statistics.test_comparison import TRAINED

RANKING = [
    {
        "place": 1,
        "model": "two-seed1",
        "score": 1.0,
        "low": 0.5,
        "high": 1.5,
        "best_place": 1,
        "worst_place": 2,
    },
    {
        "place": 2,
        "model": "one-seed0",
        "score": -1.0,
        "low": None,
        "high": None,
        "best_place": None,
        "worst_place": None,
    },
]


def found(**changes):
    rows = compared(TRAINED, 0.45)
    return {
        "measure": "accuracy",
        "sentence": sentence(rows),
        "recipes": rows,
        "ranking": RANKING,
        "seeds": 2,
        "budget": {"sampled_tokens": 2e6},
        "axis": "sampled_tokens",
        "held_out": {"rows": 256, "samples": 8},
        "papers": {"one": "", "two": "<script>alert(1)</script>"},
        "notes": ["two ended early"],
        "hardware": ["cpu, a processor"],
        "versions": ["oneloop 1"],
        "date": "2026-01-01",
        **changes,
    }


def test_it_holds_everything_and_asks_for_nothing():
    page = render(found(), TRAINED)
    for heading in (
        "Held-out accuracy",
        "On the way",
        "pass@k",
        "Cost to 45 %",
        "Cost",
        "Ranking",
        "Every run",
    ):
        assert heading in page
    assert "30.0 points (30.0 to 30.0) above one" in page and "2 M tokens sampled each" in page
    assert "two ended early" in page and "2026-01-01" in page
    assert "<script" not in page and "&lt;script&gt;" in page, "nothing runs, and names are escaped"
    assert not re.search(r'(src|href)="(?!#)', page) and "default-src 'none'" in page
    assert "nan" not in page.lower().replace("nano", "") and "None" not in page
    assert page.count("<figure") == 2 and page.count('class="mark') == 2 * 2 * 2


def test_what_was_not_measured_is_left_out():
    bare = found(recipes=compared({"one": TRAINED["one"][:1]}), ranking=[], notes=[], budget=None)
    page = render(bare, {"one": TRAINED["one"][:1]})
    assert "Ranking on single prompts" not in page and "Cost to" not in page and "as the recipes say" in page
    assert "None" not in page


def test_a_run_of_the_ranking_is_its_recipe_and_seed():
    first, second = ranked(RANKING, ["one", "two"])
    assert (first["recipe"], first["seed"]) == ("two", "1") and first["at"] == pytest.approx(80)
    assert first["bar"] == pytest.approx((60, 40)) and second["bar"] is None and second["at"] == 0


def test_numbers_are_for_people():
    assert score([0.2412, 0.2, 0.3]) == ("24.1 %", "20.0 to 30.0") and score([None] * 3) == ("", "")
    assert (
        difference([-0.05, None, None]) == ("\u22125.0", "")
        and difference([0.1, -0.01, 0.2])[1] == "\u22121.0 to +20.0"
    )
    shown = [amount(x) for x in (None, 2e6, 3.14e12, 45_000, 950.4, 0.1234)]
    assert shown == ["not reached", "2 M", "3.14 T", "45 k", "950", "0.123"]
