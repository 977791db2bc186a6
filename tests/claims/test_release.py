"""benchmarks/release.py: what it reads of a run, what it says of one that failed, what it compares with."""

import sys

from benchmarks import release

from oneloop.recipe.text import shipped


def test_every_recipe_is_run_or_said_to_need_something():
    assert set(release.LEFT_OUT) < set(shipped())


def test_before_is_the_first_phase_and_after_the_last():
    def line(mode, when, **values):
        return {"kind": "eval", "mode": mode, "when": when, **values}

    lines = [
        line("greedy", "before", accuracy=0.1),
        {"kind": "step"},
        line("greedy", "during", accuracy=0.5),
        line("sampled", "before", reward=-1.0),
        line("greedy", "after", accuracy=0.4),
        line("sampled", "after", reward=2.0),
    ]
    assert release.measured(lines) == {"greedy": [0.1, 0.4], "sampled": [-1.0, 2.0]}
    assert release.measured([{"kind": "step"}]) == {}


def test_a_failure_is_a_row_with_its_last_words():
    done, seconds = release.timed([sys.executable, "-c", "raise SystemExit('the disk is full')"])
    assert release.failure(done) == "the disk is full" and seconds > 0
    done, _ = release.timed([sys.executable, "-c", "print('well')"])
    assert release.failure(done) == ""


def test_the_page_names_what_changed():
    about = {"date": "2026-01-02", "commit": "abc", "hardware": "a CPU"}
    good = {"seconds": 12.4, "failed": "", "sampled": [0.2, 0.9]}
    claim = {"seconds": 3.0, "failed": "", "headline": 1.24, "stored": 1.3, "stale": True, "state": "holds"}
    now = about | {
        "recipes": {"tiny": good, "otr": {"seconds": 1.0, "failed": "no room"}},
        "claims": {"otr": claim},
    }
    before = about | {
        "date": "2026-01-01",
        "recipes": {"tiny": good | {"sampled": [0.2, 0.8], "seconds": 10.0}},
    }
    page = release.page(now, before)
    assert "| tiny | sampled 0.200 -> 0.900 | sampled 0.200 -> 0.800 | 12 (10) |" in page
    assert "| otr | **failed**: no room | not run | 1 |" in page
    assert "| otr | one seed 1.24; stored 1.3, holds, made by earlier code | not run | 3 |" in page
    assert "Compared with 2026-01-01" in page and "Compared" not in release.page(now, {})
