"""Score by cost: which evaluations of subnets become curves, where they lie, and laws of draws over time."""

import itertools
import re
from pathlib import Path

import pytest

from oneloop.report.budgets import by_cost
from oneloop.report.curves import COLOURS, panels
from oneloop.report.run_directory import RunDirectory


def run(budgets=(), steps=()) -> RunDirectory:
    return RunDirectory(Path("run"), "", {}, list(steps), [], [], list(budgets))


def row(flops, when="after", mode="greedy", phase="grpo", **scores):
    return {"kind": "budget", "phase": phase, "when": when, "mode": mode, "flops_per_token": flops, **scores}


def accuracy(rate):
    return {"accuracy": rate, "low": rate - 0.1, "high": rate + 0.1}


def reward(mean):
    return {"reward": mean, "reward_low": mean - 1, "reward_high": mean + 1}


def dots(svg: str) -> list[float]:
    """Heights of the marks, in pixels from above."""
    return [float(y) for y in re.findall(r'<circle[^>]*cy="([\d.]+)"', svg)]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(10, mode="sampled", **accuracy(0.5))],
        [row(10, when="during", **accuracy(0.5))],
        [row(10, **reward(float("nan"))), row(20)],
    ],
)
def test_without_greedy_scores_before_or_after_a_phase_there_is_no_figure(rows):
    assert by_cost(run(rows)) is None


def test_a_curve_for_each_moment_from_the_cheapest_subnet_on():
    rows = [row(30_000, **accuracy(0.9)), row(10_000, **accuracy(0.5)), row(20_000, **accuracy(0.7))]
    rows += [row(cost, "before", **accuracy(0.2)) for cost in (10_000, 20_000, 30_000)]
    rows += [row(20_000, "during", **accuracy(0.4)), row(20_000, mode="sampled", **accuracy(0.4))]
    svg = str(by_cost(run(rows)))
    assert "accuracy by thousand FLOPs a token" in svg and "greedy, whiskers 95 %" in svg
    assert re.findall(r">((?:before|after|during) \w+)<", svg) == ["after grpo", "before grpo"]
    heights = dots(svg)
    assert len(heights) == 6
    after, before = heights[:3], heights[3:]
    assert after[0] > after[1] > after[2]  # from above: the higher the score, the smaller
    assert after[0] - after[1] == pytest.approx(after[1] - after[2], abs=0.02)
    assert before == pytest.approx([before[0]] * 3) and before[0] > after[0]


def test_rewards_take_the_place_of_an_accuracy_nobody_measured():
    svg = str(by_cost(run([row(1000, **reward(-2.0)), row(2000, **reward(3.0))])))
    assert "reward by thousand FLOPs a token" in svg and len(dots(svg)) == 2 and "0%<" not in svg
    mixed = str(by_cost(run([row(1000, **accuracy(0.5)), row(2000, phase="sft", **reward(3.0))])))
    assert "accuracy by" in mixed and "after sft" not in mixed and len(dots(mixed)) == 1


def test_a_subnet_without_a_verdict_is_left_out_and_a_score_without_an_interval_is_a_dot():
    unknown = float("nan")
    rows = [row(1000, **accuracy(0.5)), row(2000, **accuracy(unknown)), row(3000, accuracy=0.25, low=unknown)]
    svg = str(by_cost(run(rows)))
    bars = re.findall(r'<line class="bar[^>]*y1="([\d.]+)" y2="([\d.]+)"', svg)
    (first_low, first_high), (low, high) = [tuple(map(float, bar)) for bar in bars]
    first, second = dots(svg)
    assert first_low - first == pytest.approx(first - first_high, abs=0.02) and first_low > first
    assert low == high == second and "nan" not in svg


def laws(labels, steps=3, name="flops"):
    return [
        {"kind": "step", "phase": "grpo", "step": step}
        | {f"draw/{name}/p_{label}": place + step / 10 for place, label in enumerate(labels)}
        | {f"draw/{name}/entropy": 1.0}
        for step in range(1, steps + 1)
    ]


def test_a_law_of_draws_has_a_panel_with_a_curve_for_each_thing():
    found = [panel for panel in panels(run(steps=laws(["10", "20"])))[0] if panel.key.startswith("draw-")]
    (panel,) = found
    assert (panel.key, panel.title) == ("draw-flops", "Law of draws: flops")
    assert {line.name: line.points for line in panel.lines} == {
        "10": [(1, 0.1), (2, 0.2), (3, 0.3)],
        "20": [(1, 1.1), (2, 1.2), (3, 1.3)],
    }


@pytest.mark.parametrize(("things", "shown"), [(4, 4), (5, 3), (8, 4), (9, 3), (16, 4)])
def test_of_many_things_a_few_are_shown_that_lie_evenly(things, shown):
    rows = laws([str(place) for place in range(things)], name="prompts")
    (panel,) = [panel for panel in panels(run(steps=rows))[0] if panel.key == "draw-prompts"]
    places = [int(line.name) for line in panel.lines]
    assert len(places) == shown <= len(COLOURS)
    steps = {after - before for before, after in itertools.pairwise(places)}
    assert places[0] == 0 and len(steps) == 1


def test_two_laws_have_a_panel_each_and_a_run_without_any_has_none():
    both = [one | other for one, other in zip(laws(["a"]), laws(["b"], name="prompts"), strict=True)]
    keys = [panel.key for panel in panels(run(steps=both))[0] if panel.key.startswith("draw-")]
    assert keys == ["draw-flops", "draw-prompts"]
    plain, missing = panels(run(steps=[{"kind": "step", "phase": "grpo", "step": 1, "loss": 0.5}]))
    assert not any("Law of draws" in title for title in [*missing, *(panel.title for panel in plain)])
