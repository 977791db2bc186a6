"""benchmarks/release.py: what it reads of a run, what it says of one that failed, what it compares with."""

import json
import sys

from benchmarks import release

from oneloop.recipe.text import shipped


def test_every_recipe_is_run_or_said_to_need_something():
    assert set(release.LEFT_OUT) < set(shipped())


def test_what_is_held_out_is_measured_before_and_after_each_phase():
    def line(mode, when, **values):
        return {"kind": "eval", "mode": mode, "when": when, **values}

    lines = [
        line("greedy", "before", accuracy=0.1),
        {"kind": "step"},
        line("greedy", "during", accuracy=0.5),
        line("sampled", "before", reward=-1.0),
        line("greedy", "after", accuracy=0.4),
        line("greedy", "after", accuracy=0.7),
        line("sampled", "after", reward=2.0),
    ]
    assert release.measured(lines) == {"of": "accuracy", "greedy": [0.1, 0.4, 0.7]}
    assert release.measured(lines[3:4] + lines[6:]) == {"of": "reward", "sampled": [-1.0, 2.0]}
    assert release.measured([{"kind": "step"}]) == {}


def test_a_failure_is_a_row_with_its_last_words():
    done, seconds = release.timed([sys.executable, "-c", "raise SystemExit('the disk is full')"])
    assert release.failure(done) == "the disk is full" and seconds > 0
    done, _ = release.timed([sys.executable, "-c", "print('well')"])
    assert release.failure(done) == ""


def test_the_page_names_what_changed():
    about = {"date": "2026-01-02", "commit": "abc", "hardware": "a CPU"}
    good = {"seconds": 12.4, "failed": "", "sampled": [0.2, 0.9], **about}
    claim = {"seconds": 3.0, "failed": "", "headline": 1.24, "stored": 1.3, "stale": True, "state": "holds"}
    now = about | {
        "recipes": {"tiny": good, "otr": {"seconds": 1.0, "failed": "no room"}},
        "claims": {"otr": claim},
    }
    before = {
        "recipes": {"tiny": good | {"sampled": [0.2, 0.8], "seconds": 10.0, "date": "2026-01-01"}},
    }
    page = release.page(now, before)
    assert (
        "| tiny | sampled 0.200 -> 0.900 | sampled 0.200 -> 0.800 | 12 (10) | 2026-01-01, abc, a CPU |"
        in page
    )
    assert "| otr | **failed**: no room | not run | 1 |  |" in page
    assert "| otr | one seed 1.24; stored 1.3, holds, made by earlier code | not run | 3 |  |" in page


def test_a_part_of_a_release_leaves_the_rest_as_it_was(monkeypatch, tmp_path):
    stored = tmp_path / "release.json"
    stored.write_text('{"recipes": {"otr": {"seconds": 3.0}}, "claims": {"capo": {"seconds": 4.0}}}')
    monkeypatch.setattr(release, "STORED", stored)
    monkeypatch.setattr(release, "PAGE", tmp_path / "build" / "release.md")
    monkeypatch.setattr(release, "recipe_row", lambda name: {"seconds": 1.0, "failed": "no room"})
    monkeypatch.setattr(sys, "argv", ["release", "--recipes", "tiny", "--claims"])
    assert release.main() == 1
    now = json.loads(stored.read_text())
    assert set(now["recipes"]) == {"otr", "tiny"} and now["claims"] == {"capo": {"seconds": 4.0}}
    assert now["recipes"]["tiny"].keys() == {"seconds", "failed", *release.ABOUT}
    assert "| tiny | **failed**: no room | not run | 1 |  |" in release.PAGE.read_text()
