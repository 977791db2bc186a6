"""Puts a run's report together and writes it: `report.html`, one file, no requests, opens by double click.

Whatever the model or a judge wrote reaches the page as JSON with <, > and & escaped and is shown through
textContent, so it can neither end the script nor become markup. A content security policy in the page forbids
every request.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from oneloop.core.storage import replace_file
from oneloop.measure.statistics.scores import interval
from oneloop.report import actors, edits, headline, plot
from oneloop.report.budgets import by_cost
from oneloop.report.curves import eval_step, panels
from oneloop.report.doctor import Finding, Thresholds, diagnose
from oneloop.report.pictures import read_gallery
from oneloop.report.rollout_tables import BUDGET, Browser, read_rollouts
from oneloop.report.run_directory import RunDirectory, read_run
from oneloop.report.template import filled

SCRIPTS = ("shared.js", "charts.js", "pictures.js", "rollouts.js")


def write_report(run_directory: Path, *, budget: int = BUDGET, thresholds: Thresholds | None = None) -> Path:
    """Write `run_directory`/report.html and return its path.

    `budget`: bytes of rollouts to embed; above it an even sample is taken, and the page says so.
    `thresholds`: from which numbers on the doctor speaks.
    Raises RunDirectoryError (a ValueError) where the directory is missing, incomplete or damaged.
    """
    run = read_run(Path(run_directory))
    browser = read_rollouts(run.path / "rollouts", budget, run.phases)
    page = render(run, browser, thresholds)
    target = run.path / "report.html"
    replace_file(target, page)
    return target


def render(run: RunDirectory, browser: Browser, thresholds: Thresholds | None = None) -> str:
    """The page as text."""
    drawings, unmeasured = _draw(run)
    compared = headline.comparisons(run)
    shown = sum(len(group["rollouts"]) for step in browser.steps for group in step["groups"])
    hover = {
        "box": [plot.LEFT, plot.RIGHT, plot.WIDTH],
        "domain": _domain(run),
        "panels": [[[line.name, plot.thinned(line.points)] for line in d.panel.lines] for d in drawings],
        "percent": [d.panel.percent for d in drawings],
    }
    return filled(
        "report.html",
        ("style.css",),
        SCRIPTS,
        run=run,
        kind="run report",
        title=run.path.resolve().name,
        sentence=headline.sentence(compared),
        compared=headline.by_measure(compared),
        facts=headline.facts(run, shown),
        findings=diagnose(run.steps, thresholds),
        said=[_recorded(row) for row in run.doctor],
        drawings=drawings,
        unmeasured=unmeasured,
        plot=plot,
        actors=actors.stages(run),
        paces=actors.paces(run),
        by_cost=by_cost(run),
        won=edits.win_rates(run),
        shown=edits.edits(run.path / "rollouts"),
        score=headline.shown,
        share=partial(headline.shown, measure="accuracy"),
        tick=headline.tick,
        axis=headline.axis,
        interval_of=interval,
        remarks=[*run.remarks, *left_out(browser)],
        has_rollouts=bool(browser.steps),
        gallery=read_gallery(run.path / "gallery"),
        curves_data=as_json(hover),
        rollouts_data=as_json(browser.to_data()),
    )


def _recorded(row: dict[str, Any]) -> tuple[Any, Finding]:
    name, phase = str(row.get("name", "")), str(row.get("phase", ""))
    return row.get("step"), Finding(row.get("level", "note"), name, str(row.get("sentence", "")), phase)


def _domain(run: RunDirectory) -> tuple[float, float]:
    steps = [float(row["step"]) for row in run.steps] + [eval_step(row, run) for row in run.evals]
    return min(steps, default=0.0), max(steps, default=1.0)


def _draw(run: RunDirectory) -> tuple[list[plot.Drawing], list[str]]:
    found, unmeasured = panels(run)
    return [plot.draw(panel, _domain(run), run.phases) for panel in found], unmeasured


def left_out(browser: Browser) -> list[str]:
    """What of the rollouts is not in the page, in sentences."""
    sentences = []
    if len(browser.steps) < browser.steps_recorded:
        sentences.append(
            f"The page holds the rollouts of {len(browser.steps)} of {browser.steps_recorded} steps, evenly "
            "spaced, to stay small; all of them are in rollouts/."
        )
    if browser.groups_left_out:
        sentences.append(
            f"Of these steps, {browser.groups_left_out} groups were left out, evenly, to stay small."
        )
    if browser.rollouts_cut:
        sentences.append(
            f"{browser.rollouts_cut} rollouts show only their first {browser.most_tokens:,} tokens."
        )
    return sentences


def as_json(data: Any) -> Markup:
    """JSON that is safe inside a script element, whatever text it holds."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
