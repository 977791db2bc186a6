"""The figure of the claim shiftnas: which runs it reads, what it draws, and the intervals it prints."""

import json

import pytest
from benchmarks.claims.intervals import interval
from benchmarks.claims.shiftnas import figure
from benchmarks.claims.shiftnas.training import BINS
from benchmarks.claims.tuning import SEEDS


def row(worst, rising=0.0):
    errors = {f"error in bin {number}": worst - number / 100 for number in range(1, BINS + 1)}
    laws = {
        f"law at {quarter}/4, bin {number}": (1 + rising * quarter * (number == BINS)) / BINS
        for quarter in range(1, 5)
        for number in range(1, BINS + 1)
    }
    return {figure.MEASURE: worst, **errors, **laws}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shiftnas").mkdir()
    for seed, worst in ((0, 0.30), (1, 0.34), (SEEDS[0], 0.99)):
        rows = {figure.AGAINST: row(worst), "rate": row(worst - 0.02 - seed / 100, 1.0), "another": row(0.5)}
        (tmp_path / "shiftnas" / f"run-{seed}.json").write_text(json.dumps({"rows": rows}))
    (tmp_path / "shiftnas" / "run-2.json").write_text(json.dumps({"rows": {"shift": row(0.4)}}))
    return tmp_path


def test_seeds_of_tuning_unknown_arms_and_arms_of_one_seed_are_left_out(folder):
    found = figure.finished(folder / "shiftnas")
    assert {arm: sorted(seeds) for arm, seeds in found.items()} == {figure.AGAINST: [0, 1], "rate": [0, 1]}


def test_errors_are_means_over_seeds_with_their_intervals(folder):
    panel = figure.errors_by_bin(figure.finished(folder / "shiftnas"))
    uniform, rate = panel.lines
    assert [line.name for line in panel.lines] == [figure.AGAINST, "rate"] and panel.percent
    assert [x for x, _ in rate.points] == list(range(1, BINS + 1))
    mean, low, high = interval([0.30 - 0.03, 0.34 - 0.03])
    assert uniform.points[2] == pytest.approx((3, mean)) and uniform.bars[2] == pytest.approx((low, high))


def test_a_law_begins_uniform_and_has_a_point_each_quarter(folder):
    panel = figure.law_of("rate", figure.finished(folder / "shiftnas")["rate"])
    first, last = panel.lines[0], panel.lines[-1]
    assert len(panel.lines) == BINS and last.name == f"bin {BINS}"
    assert first.points == [(place, 1 / BINS) for place in (0, 3, 6, 9, 12)]
    assert [chance * BINS for _, chance in last.points] == pytest.approx([1, 2, 3, 4, 5])


def test_paired_differences_are_printed_and_the_figure_is_written(folder, capsys):
    figure.main("shiftnas", folder)
    told = capsys.readouterr().out.splitlines()
    mean, low, high = (100 * value for value in interval([-0.02, -0.03]))
    assert told[0].startswith(f"{figure.AGAINST:<14} worst bin's error 32.00 % (")
    assert told[0].endswith("; 2 seeds") and "less" not in told[0]
    assert told[1].startswith("rate           worst bin's error 29.50 % (")
    assert told[1].endswith(f"; less 'per bin' {mean:+.2f} points ({low:+.2f} to {high:+.2f}); 2 seeds")
    assert told[2] == str(folder / "shiftnas.svg")
    text = (folder / "shiftnas.svg").read_text()
    assert text.count("<circle") == 2 * BINS and "law of draws, rate" in text
    with pytest.raises(SystemExit, match="has no two seeds of 'per bin' yet"):
        figure.main("other", folder)
