"""Accuracy is said where a judge says correct; a reward keeps its own scale."""

import pytest

from oneloop.measure.statistics.scores import interval, measures, value, with_interval, written


def line(accuracy=None, reward=None, **more):
    found = {"accuracy": accuracy, "reward": reward}
    return {name: number for name, number in found.items() if number is not None} | more


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], []),
        ([line(0.2, 0.2), line(0.4, 0.4)], ["accuracy"]),
        ([line(0.2), line(0.4)], ["accuracy"]),
        ([line(0.2, 0.21), line(0.4, 0.405)], ["accuracy"]),
        ([line(0.0, 0.01), line(0.0, 0.02)], ["accuracy"]),
        ([line(0.2, 0.3), line(0.4, 0.5)], ["accuracy", "reward"]),
        ([line(reward=300.0), line(reward=310.0)], ["reward"]),
        ([line(0.0, 0.4), line(0.0, 0.476)], ["reward", "accuracy"]),
        ([line(0.0, 0.0), line(0.0, 0.0)], ["accuracy"]),
        ([line(300.0, 300.0), line(310.0, 310.0)], ["reward"]),
    ],
)
def test_what_is_worth_showing(lines, found):
    assert measures(lines) == found


def test_what_is_no_number_or_no_share_was_not_measured():
    assert value(line(float("nan"), 3.0), "accuracy") is None and value({}, "reward") is None
    assert value(line(300.0, 300.0), "accuracy") is None and value(line(1.0), "accuracy") == 1.0


@pytest.mark.parametrize(
    ("number", "measure", "text"),
    [
        (0.812, "accuracy", "81.2 %"),
        (0.4761, "reward", "0.476"),
        (-3.0, "reward", "-3"),
        (30000, "reward", "30,000"),
    ],
)
def test_how_they_are_written(number, measure, text):
    assert written(number, measure) == text


def test_intervals():
    one = line(0.5, 12.0, low=0.4, high=0.6, reward_low=11.0, reward_high=None)
    assert interval(one, "accuracy") == (0.4, 0.6) and interval(one, "reward") is None
    assert with_interval(one, "accuracy") == "50.0 % (40.0 to 60.0)" and with_interval(one, "reward") == "12"
    assert with_interval(one | {"reward_high": 1300.0}, "reward") == "12 (11 to 1,300)"
    assert with_interval({}, "accuracy") == ""
