"""The page of a ranking: one file, no requests, no foreign markup; drawn by Chromium."""

import json
import re
import subprocess

import numpy as np
import pytest

from oneloop.measure.ranking import from_long, rank
from oneloop.report import ranking_page
from oneloop.report.ranking_page import browsed, heat, sentence, write_ranking_page
from tests.report.test_page import CHROMIUM, needs_chromium

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def pool():
    draw = np.random.Generator(np.random.Philox(0))
    rows = [
        {
            "model": name,
            "sample_id": f"s{j:02}",
            "score": float(draw.random() < chance),
            "dataset": f"d{j % 2}",
        }
        | {"text": f"question {j} {HOSTILE if j == 3 else ''}", "level": j}
        for j in range(40)
        for name, chance in (("good", 0.9), ("bad <b>", 0.1), ("middling", 0.5))
        if j > 2 or name != "good"
    ]
    return from_long(rows, source="dataset")


@pytest.fixture(scope="module")
def page(pool, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "ranking.html"
    return write_ranking_page(path, pool, rank(pool), {"mean": rank(pool, "mean")}, title="A & B")


def test_it_is_one_file_without_requests_or_foreign_markup(page):
    text = page.read_text()
    assert "default-src 'none'" in text and not re.search(r"(src|href)=[\"'](?!#)", text)
    assert "owned" in text and text.count("<script") == 3 and "bad &lt;b&gt;" in text and "A &amp; B" in text


def test_sentences_say_who_leads_and_how_surely(pool):
    ranking = rank(pool)
    assert sentence(ranking).startswith("good ranks first of 3 models; against the middle one it is ahead ")
    assert sentence(ranking).endswith("Its lead over middling is larger than chance explains.")
    assert sentence(rank(pool, "mean")) == "good ranks first of 3 models."
    few = rank(pool.take(np.arange(4, 8)))
    assert re.search(r"could stand as low as place [23] of 3\.$", sentence(few))


def test_the_heat_map_holds_win_rates(pool):
    ranking = rank(pool)
    shown = heat(ranking)
    assert shown["models"] == list(ranking.models)
    rates = np.array(shown["rates"], dtype=float)
    assert rates[0, 2] > 0.8 and rates + rates.T == pytest.approx(
        np.ones((3, 3)) + np.diag([np.nan] * 3), nan_ok=True, abs=2e-3
    )


def test_the_browser_shows_what_was_found_or_what_tells_most(pool, monkeypatch):
    ranking = rank(pool)
    monkeypatch.setattr(ranking_page, "MOST_SAMPLES", 5)
    by_spread = browsed(pool, ranking, None)["samples"]
    assert len(by_spread) == 5 and all(0 < sum(s["scores"].values()) < s["measured"] for s in by_spread)
    found = browsed(pool, ranking, np.linspace(1, 0, 40).tolist())["samples"]
    assert [s["name"] for s in found] == pool.samples[:5].tolist() and found[0]["similarity"] == 1
    assert found[0]["facts"]["level"] == "0" and found[0]["source"] == "d0"


@needs_chromium
def test_a_browser_draws_it(page, tmp_path):
    script = (
        "<script>document.querySelector('#list li:nth-child(2) button').click();"
        "const said = document.createElement('output'); said.id = 'result';"
        "said.textContent = JSON.stringify([document.title, document.querySelectorAll('.heat .cell').length,"
        "document.querySelectorAll('#list li').length, document.querySelectorAll('.marks div').length,"
        "document.getElementById('matches').textContent]); document.body.append(said);</script></body>"
    )
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text().replace("</body>", script))
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --virtual-time-budget=1000"
    command = [
        CHROMIUM,
        *flags.split(),
        "--dump-dom",
        f"--user-data-dir={tmp_path / 'profile'}",
        copy.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title, cells, listed, marks, matches = json.loads(
        re.search(r'<output id="result">(.*?)</output>', dom)[1]
    )
    assert (title, cells, listed, matches) == ("A &amp; B · oneloop", 9, 40, "40 of 40 shown")
    assert marks >= 2
