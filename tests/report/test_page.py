"""The page as opened by a reader: rendered in headless Chromium, offline, with its controls used."""

import html
import json
import random
import re

import pytest

from oneloop.report import write_report
from oneloop.report.doctor import Thresholds
from oneloop.report.page import as_json
from tests.report.conftest import CHROMIUM
from tests.report.made_up_run import (
    GROUPS,
    HOSTILE,
    RECIPE,
    SIZE,
    credited,
    rollout,
    write_rollouts,
    write_run,
)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium binary on PATH to render the report with"
)


@pytest.fixture(scope="session")
def report(finished_run):
    return write_report(finished_run)


@pytest.fixture
def browse(report, browse_page):
    """browse(hash, script): the rendered DOM after `script` acted like a reader; see `result`."""
    return lambda address="", script="": browse_page(report, address, script)


def result(dom: str):
    return json.loads(html.unescape(re.search(r'<output id="result">(.*?)</output>', dom, re.S)[1]))


def text_of(dom: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", dom))


@needs_chromium
def test_what_a_reader_sees_first(browse):
    dom = browse()
    text = text_of(dom)
    assert "<title>quickstart-seed0 · oneloop</title>" in dom
    assert "Held-out sampled accuracy rose from 29.0% to 62.0% in phase grpo." in text
    assert "Loss stayed near 0" in text and "Judges failed on 12 rollouts" in text
    assert dom.count('<figure class="chart"') == 9
    assert "grpo, step 98: 64 of 64 rollouts shown." in text, "the latest step is open"
    assert RECIPE.strip() in text and "transformers" in text


@needs_chromium
def test_deep_link_opens_step_and_group_and_tokens_are_tinted_by_sign(browse):
    dom = browse(
        "#step=71&group=3",
        """const tokens = [...document.querySelectorAll("#group .token")];
        const card = (verdict) => [...document.querySelectorAll("#group .rollout")]
          .find((other) => other.querySelector(".verdict." + verdict) && !other.querySelector(".flag"));
        const tints = (verdict) =>
          [...card(verdict).querySelectorAll(".token")].map((token) => token.style.background);
        return {
          step: document.getElementById("step").selectedOptions[0].textContent,
          group: document.querySelector("#groups [aria-current] button span").textContent,
          rollouts: document.querySelectorAll("#group .rollout").length,
          text: document.querySelector("#group .text").textContent,
          plus: tints("correct").every((tint) => tint.includes("--plus")),
          minus: tints("incorrect").every((tint) => tint.includes("--minus")),
          leftOut: document.querySelectorAll("#group .token.left-out").length,
          dim: getComputedStyle(document.querySelector("#group .token.left-out")).opacity,
          hash: location.hash,
        };""",
    )
    seen = result(dom)
    assert (seen["step"], seen["group"], seen["rollouts"]) == ("71", "Group 3", 8)
    assert seen["plus"] and seen["minus"]
    assert seen["leftOut"] == 6 and float(seen["dim"]) < 0.5
    assert "The answer is" in seen["text"] and seen["hash"] == "#step=71&group=3"


@needs_chromium
def test_text_of_models_and_judges_never_becomes_markup(browse):
    dom = browse(
        "#step=41&group=1",
        """return [document.title, document.images.length, document.scripts.length,
          document.querySelector("#group .error").textContent,
          document.querySelectorAll("#group .text")[2].textContent];""",
    )
    title, images, scripts, error, text = result(dom)
    assert (title, images) == ("quickstart-seed0 · oneloop", 0)
    assert scripts == 7, "two data islands, four scripts, this test's own"
    assert error == f"exact gave no verdict: timeout after 2 s, {HOSTILE}" and text == HOSTILE


@needs_chromium
def test_keyboard_filters_and_search(browse):
    dom = browse(
        "#step=41&group=0",
        """const press = (key, shiftKey = false) =>
          document.body.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
        const set = (id, value, kind) => {
          document.getElementById(id).value = value;
          document.getElementById(id).dispatchEvent(new Event(kind));
        };
        const hashes = [];
        const note = () => hashes.push(location.hash);
        press("ArrowRight"); note(); press("ArrowRight", true); note(); press("ArrowLeft", true); note();
        press("ArrowLeft"); press("ArrowLeft"); note();
        const shown = () => document.getElementById("matches").firstChild.textContent;
        set("filter", "failed", "change"); const failed = shown();
        press("ArrowRight");
        const cards = [...document.querySelectorAll("#group .rollout .verdict")].map((v) => v.textContent);
        set("filter", "all", "change"); set("search", "NO SUCH TEXT", "input"); const none = shown();
        const later = document.getElementById("matches").textContent;
        set("search", "ONERROR", "input"); const found = shown();
        document.querySelector("#matches button").click();
        return { hashes, failed, cards, none, later, found, after: location.hash };""",
    )
    seen = result(dom)
    assert seen["hashes"] == ["#step=41&group=1", "#step=44&group=1", "#step=41&group=1", "#step=41&group=0"]
    assert seen["failed"] == "grpo, step 41: 1 of 64 rollouts shown." and seen["cards"] == ["! failed"]
    assert "0 of 64" in seen["none"] and "No later step has a match." in seen["later"]
    assert "1 of 64" in seen["found"] and seen["after"] == "#step=44&group=1"


@needs_chromium
def test_hovering_tells_all_about_a_token_and_a_chart_opens_its_rollouts(browse):
    dom = browse(
        "#step=41&group=0",
        """const over = (target, x, y) => target.dispatchEvent(
          new PointerEvent("pointermove", { bubbles: true, clientX: x, clientY: y }));
        over(document.querySelector("#group .token"), 300, 300);
        const words = (id) => {
          const tip = document.getElementById(id);
          return tip.hidden ? "" : tip.textContent;
        };
        const token = words("token-tip");
        const chart = document.querySelector("#curve-reward svg");
        const box = chart.getBoundingClientRect();
        over(chart, box.left + 0.7 * box.width, box.top + 50);
        const curve = words("curve-tip");
        const place = { bubbles: true, clientX: box.right - 4, clientY: box.top + 50 };
        chart.dispatchEvent(new MouseEvent("click", place));
        return { token, curve, hash: location.hash };""",
    )
    seen = result(dom)
    for word in (
        "log-prob",
        "probability",
        "entropy",
        "advantage",
        "share in the update1",
        "ratio",
        "weight version0",
    ):
        assert word in seen["token"]
    assert re.match(r"step 6\d", seen["curve"]) and "exact" in seen["curve"] and "form0.9" in seen["curve"]
    assert seen["hash"] == "#step=98&group=0", "the embedded step nearest to 100"


def test_the_page_needs_nothing_from_outside(report):
    page = report.read_text()
    assert "default-src 'none'" in page
    assert not re.findall(
        r"""(?:src|href)\s*=\s*["'](?!#)""", page.split('<script type="application/json"')[0]
    )
    assert not re.findall(r"@import|url\(|https?://", page)


def test_the_same_run_gives_the_same_bytes(report):
    before = report.read_bytes()
    assert write_report(report.parent).read_bytes() == before


def test_json_islands_cannot_be_left(report):
    assert "</script>" not in as_json({"text": HOSTILE}) and json.loads(as_json({"text": HOSTILE})) == {
        "text": HOSTILE
    }
    assert report.read_text().count("</script>") == 6


def test_a_small_budget_is_said(tmp_path):
    run = write_run(tmp_path / "run", rollout_steps=range(41, 101, 2))
    page = write_report(run, budget=200_000).read_text()
    steps = re.search(r"The page holds the rollouts of (\d+) of 30 steps, evenly spaced", page)
    assert steps and 2 <= int(steps[1]) <= 24
    assert re.search(r"Of these steps, \d+ groups were left out", page)
    assert len(page) < write_report(run).stat().st_size / 2


def test_thresholds_reach_the_doctor(tmp_path):
    run = write_run(tmp_path / "run", rollout_steps=range(0))
    assert "Sampler and learner disagreed" not in write_report(run).read_text()
    assert (
        "Sampler and learner disagreed" in write_report(run, thresholds=Thresholds(gap_note=1e-8)).read_text()
    )


def test_a_run_without_steps_or_rollouts_still_gives_a_page(tmp_path):
    run = write_run(tmp_path / "run", rollout_steps=range(0))
    (run / "metrics.jsonl").write_text("")
    page = write_report(run).read_text()
    assert "This run kept no rollouts." in page and "The run wrote no summary" in page


@pytest.fixture
def credited_report(tmp_path):
    """A page whose rollouts have step critiques, rounds, exemplars and several weight versions."""
    run = write_run(tmp_path / "run", rollout_steps=range(0))
    draw = random.Random(3)
    rows = [
        credited(rollout(41, group, place, draw), place) for group in range(GROUPS) for place in range(SIZE)
    ]
    write_rollouts(run / "rollouts", 41, rows)
    return write_report(run)


@needs_chromium
def test_wrong_steps_rounds_and_weight_versions_are_shown(credited_report, browse_page):
    seen = result(
        browse_page(
            credited_report,
            "#step=41&group=0",
            """const cards = [...document.querySelectorAll("#group .rollout")];
            const flawed = (card) => [...card.querySelectorAll(".token.flawed")];
            const over = (target) => target.dispatchEvent(
              new PointerEvent("pointermove", { bubbles: true, clientX: 300, clientY: 300 }));
            over(flawed(cards[1])[0]);
            return {
              struck: cards.map((card) => flawed(card).length > 0),
              line: getComputedStyle(flawed(cards[0])[0]).textDecorationLine,
              words: cards.map((card) => card.querySelector("ul.critique")?.textContent ?? ""),
              heads: cards.map((card) => card.querySelector("header").textContent),
              newer: cards.map((card) => card.querySelectorAll(".token.newer").length),
              tip: document.getElementById("token-tip").textContent,
              images: document.images.length,
            };""",
        )
    )
    assert (
        seen["struck"] == [True, True, False, True, True, False, True, True]
        and seen["line"] == "line-through"
    )
    assert seen["words"][0].startswith("step 1 then") and HOSTILE in seen["words"][0] and seen["images"] == 0
    assert "(0.75 of the votes)" in seen["words"][1] and seen["words"][2] == seen["words"][5] == ""
    assert "steps voted wrong 1" in seen["heads"][0] and "steps voted wrong 0" in seen["heads"][2]
    assert "steps voted wrong" not in seen["heads"][5]
    assert "round 0" in seen["heads"][0] and "exemplars" not in seen["heads"][0]
    assert "round 1" in seen["heads"][4] and "exemplars before the prompt 3" in seen["heads"][4]
    assert seen["newer"] == [0, 1] * 4 and "weight versions -1–0" in seen["heads"][1]
    assert "voted wrong0.75" in seen["tip"] and "Step 1: " in seen["tip"]


@needs_chromium
def test_columns_that_nobody_wrote_are_not_shown(browse):
    dom = browse("#step=41&group=0")
    cards = re.findall(r'<article class="rollout".*?</article>', dom, re.S)
    assert cards and not any(
        word in card for card in cards for word in ("flawed", "newer", "critique", "round <b>")
    )
