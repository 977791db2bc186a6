"""Chart geometry: round ticks that enclose the data, pixels in proportion, phases that never connect."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.report import plot
from oneloop.report.curves import Curve, Panel, panels
from oneloop.report.run_directory import RunDirectory, read_run

PHASES = [("sft", 1, 10), ("grpo", 11, 30)]


def panel(points, **options) -> Panel:
    return Panel("key", "Title", "About.", [Curve("line", "one", points)], **options)


def coordinates(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_enclose_the_range_in_equal_round_steps(low, span, count):
    places = plot.ticks(low, low + span, count)
    step = places[1] - places[0]
    assert places[0] <= low + 1e-6 * step + 1e-9 * abs(low)
    assert places[-1] >= low + span - 1e-6 * step - 1e-9 * abs(low)
    assert len(places) <= count + 3
    mantissa = float(f"{step:e}".split("e")[0])
    assert min(abs(mantissa - round_) for round_ in (1, 2, 5, 10)) < 1e-2


@pytest.mark.parametrize(
    ("value", "percent", "text"),
    [
        (0.4, True, "40%"),
        (0.25, False, "0.25"),
        (12000, False, "12k"),
        (5e-6, False, "5e-6"),
        (-0.5, False, "−0.5"),
    ],
)
def test_labels(value, percent, text):
    assert plot.label(value, percent) == text


def test_points_land_in_proportion_and_phases_stay_apart():
    drawing = plot.draw(panel([(step, step / 30) for step in range(1, 31)]), (0, 30), PHASES)
    paths = [coordinates(path) for _, path in drawing.paths]
    assert [len(path) for path in paths] == [10, 20]
    x, y = paths[1][-1]
    assert x == plot.RIGHT and y == plot.TOP
    x, y = paths[0][4]
    assert x == pytest.approx(plot.LEFT + 5 / 30 * (plot.RIGHT - plot.LEFT), abs=0.01)
    assert y == pytest.approx(plot.BOTTOM - 5 / 30 * (plot.BOTTOM - plot.TOP), abs=0.01)
    middle = plot.LEFT + 10.5 / 30 * (plot.RIGHT - plot.LEFT)
    assert drawing.bands[1][0] == pytest.approx(middle, abs=0.01) and drawing.bands[1][2] == "grpo"


def test_stacked_areas_add_up_to_the_whole():
    lines = [Curve("sample", "one", [(1, 1.0), (2, 2.0)]), Curve("update", "two", [(1, 3.0), (2, 2.0)])]
    drawing = plot.draw(Panel("time", "Time", "", lines, stacked=True), (1, 2), [("grpo", 1, 2)])
    top = coordinates(drawing.paths[1][1])
    assert [y for _, y in top[:2]] == [plot.TOP, plot.TOP], "1 + 3 and 2 + 2 both reach 4"
    assert top[2:] == coordinates(drawing.paths[0][1])[:2][::-1], "the second area stands on the first"


def test_long_curves_keep_their_mean_and_are_smoothed():
    points = [(float(step), float(step % 7)) for step in range(4000)]
    thin = plot.thinned(points)
    assert len(thin) == plot.MOST_POINTS
    assert sum(v for _, v in thin) / len(thin) == pytest.approx(sum(v for _, v in points) / len(points))
    classes = [name for name, _ in plot.draw(panel(points), (0, 3999), [("grpo", 0, 3999)]).paths]
    assert classes == ["line raw one", "line one"]
    assert plot.smoothed([(step, 2.0) for step in range(50)]) == [(step, 2.0) for step in range(50)]


def test_one_step_and_one_value_can_be_drawn():
    drawing = plot.draw(panel([(1, 0.0)]), (1, 1), [("grpo", 1, 1)])
    assert drawing.paths[0][1].endswith("h6") and len(drawing.y_ticks) >= 2


def test_panels_of_a_real_run_name_what_was_not_measured(finished_run):
    run = read_run(finished_run)
    shown, missing = panels(run)
    keys = [p.key for p in shown]
    assert keys[:5] == ["accuracy", "reward", "length", "no_signal", "entropy"]
    assert keys[5:] == ["kl", "gap", "loss", "time"] and missing == []
    rows = [{name: value for name, value in row.items() if name != "kl"} for row in run.steps]
    without = RunDirectory(run.path, "", {}, rows, [], [])
    assert panels(without)[1] == ["Held-out accuracy", "KL to the reference"]


def test_the_forecast_is_drawn_from_the_pass_rate_where_none_was_written():
    rows = [{"phase": "grpo", "step": 1, "correct": 0.9, "group_size": 8, "frac_reward_zero_std": 0.5}]
    shown, _ = panels(RunDirectory(None, "", {}, rows, [], []))
    lines = {line.name: line.points for line in shown[0].lines}
    assert lines == {"measured": [(1, 0.5)], "forecast": [(1, pytest.approx(0.43046722))]}


def test_other_time_is_what_the_stages_leave():
    row = {
        "phase": "grpo",
        "step": 1,
        "step_time": 2.0,
        "sample_time": 0.5,
        "judge_time": 0.25,
        "update_time": 1.0,
    }
    shown, _ = panels(RunDirectory(None, "", {}, [row], [], []))
    assert {line.name: line.points[0][1] for line in shown[0].lines} == pytest.approx(
        {"sample": 0.5, "judge": 0.25, "update": 1.0, "other": 0.25}
    )


def test_a_run_that_trained_old_tokens_shows_their_ages_and_what_is_held():
    rows = [
        {
            "phase": "grpo",
            "step": 1,
            "staleness/carried_ratio": 0.0,
            "staleness/lag_0": 1.0,
            "held/tokens": 40,
        },
        {
            "phase": "grpo",
            "step": 2,
            "staleness/carried_ratio": 0.5,
            "staleness/lag_0": 0.5,
            "staleness/lag_1": 0.3,
            "staleness/lag_5": 0.15,
            "staleness/lag_8": 0.05,
            "held/tokens": 90,
        },
    ]
    shown, _ = panels(RunDirectory(None, "", {}, rows, [], []))
    by_key = {p.key: p for p in shown}
    ages = {line.name: [value for _, value in line.points] for line in by_key["staleness"].lines}
    assert ages == {
        "1 behind": [0, 0.3],
        "2 behind": [0, 0],
        "3 behind": [0, 0],
        "more": [0, pytest.approx(0.2)],
    }
    assert [line.points for line in by_key["held"].lines] == [[(1, 40), (2, 90)]]
    fresh, missing = panels(RunDirectory(None, "", {}, rows[:1], [], []))
    assert "staleness" not in [p.key for p in fresh] and "Tokens of older weights" not in missing
