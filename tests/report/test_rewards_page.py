"""Runs whose judges say no `correct`: the page shows mean rewards on an axis of their own."""

import json
import re

import pytest

from oneloop.report import write_report
from tests.report.made_up_run import write_run
from tests.report.test_page import needs_chromium, result, text_of


def rewarded(line, scale):
    """The evaluation with its score as a reward, `scale` times as large."""
    score = {name: line.pop(name) for name in ("accuracy", "low", "high")}
    names = ("reward", "reward_low", "reward_high")
    return line | {name: scale * value for name, value in zip(names, score.values(), strict=True)}


@pytest.fixture
def large(tmp_path):
    """A run with rewards of up to 30,000."""
    run = write_run(tmp_path / "large")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = [rewarded(line, 45000) if line["kind"] == "eval" else line for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_no_reward_is_a_percentage(large):
    page = write_report(large).read_text()
    text = text_of(page)
    assert "Held-out sampled reward rose from 13,050 to 27,900 in phase grpo." in text
    assert "Held-out reward" in text and "Held-out accuracy" not in text and "0000.0%" not in text
    places = [float(left) for left in re.findall(r'style="left:([-\d.e]+)%', page)]
    assert places and all(-1e-9 <= place <= 100 + 1e-9 for place in places), "every mark is on its axis"


@needs_chromium
def test_the_page_is_no_wider_than_the_window(large, browse_page):
    dom = browse_page(write_report(large), "", "return document.documentElement.scrollWidth;")
    assert result(dom) <= 1400


def test_a_run_that_stopped_before_the_end_of_a_phase(large):
    lines = (large / "metrics.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line).get("when") != "after"]
    (large / "metrics.jsonl").write_text("".join(f"{line}\n" for line in kept))
    text = text_of(write_report(large).read_text())
    assert "This run has no held-out score before and after a phase." in text and "Held-out reward" in text
