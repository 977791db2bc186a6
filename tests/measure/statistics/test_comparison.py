"""Rows of a comparison by hand: paired differences, thresholds with runs that never get there, curves."""

import json
import math

import pytest

from oneloop.measure.statistics.comparison import Point, Trained, compared, curve, reached, sentence


def run(recipe, seed, accuracies, cost=100.0):
    """A run whose sampled accuracy is `accuracies` at 0, cost, 2 cost ...; greedy is a tenth higher."""
    points = [
        Point(mode, {"sampled_tokens": i * cost, "seconds": float(i)}, value + add)
        for i, value in enumerate(accuracies)
        for mode, add in (("greedy", 0.1), ("sampled", 0.0))
    ]
    final = {
        "greedy": {"accuracy": accuracies[-1] + 0.1},
        "sampled": {
            "accuracy": accuracies[-1],
            "pass_at": {"1": [accuracies[-1], 0, 1], "4": [0.9, 0.8, 1.0]},
        },
    }
    spent = points[-1].spent
    return Trained(recipe, seed, final, points, spent, {"seconds": 1.0 + spent["seconds"]})


TRAINED = {
    "one": [run("one", 0, [0.1, 0.2]), run("one", 1, [0.1, 0.4])],
    "two": [run("two", 0, [0.1, 0.5], 50.0), run("two", 1, [0.1, 0.7], 150.0)],
}


def test_rows_hold_means_paired_differences_costs_and_every_seed():
    first, second = compared(TRAINED)
    assert first["sampled"]["score"] == pytest.approx([0.3, 0.2, 0.4])
    assert first["sampled"]["difference"] == [0, 0, 0]
    assert second["sampled"]["difference"] == pytest.approx([0.3, 0.3, 0.3])  # both seeds gain as much
    assert second["greedy"]["score"][0] == pytest.approx(0.7)
    assert second["pass_at"]["4"]["difference"] == [0, 0, 0] and second["maj_at"] == {}
    assert second["spent"] == {"sampled_tokens": 100.0, "seconds": 1.0} and second["whole"] == {
        "seconds": 2.0
    }
    assert [seed["sampled"] for seed in second["seeds"]] == [0.5, 0.7]
    json.dumps([first, second], allow_nan=False)


def test_what_is_no_number_is_none():
    nothing = Trained("x", 0, {"sampled": {}}, [], {"seconds": 1.0}, {"seconds": 1.0})
    (row,) = compared({"x": [nothing]})
    assert row["sampled"]["score"] == [None, None, None] and sentence([row]) == "Nothing was measured."
    alone = compared({"one": TRAINED["one"][:1], "two": TRAINED["two"][:1]})[1]
    assert alone["sampled"]["difference"] == [pytest.approx(0.3), None, None]


def test_the_cost_to_a_threshold_is_the_first_evaluation_at_it():
    assert reached(TRAINED["two"], 0.5) == {
        "score": 0.5,
        "reached": 2,
        "of": 2,
        "median": {"sampled_tokens": 100.0, "seconds": 1.0},
    }
    assert reached(TRAINED["two"], 0.1)["median"]["sampled_tokens"] == 0.0, "it began there"
    half = reached(TRAINED["two"], 0.6)
    assert half["reached"] == 1 and half["median"]["seconds"] is None, "half never got there"
    three = [*TRAINED["two"], run("two", 2, [0.1, 0.9])]
    assert reached(three, 0.6)["median"]["sampled_tokens"] == 150.0, "the median of 100, 150 and never"


def test_a_curve_goes_as_far_as_all_seeds_do():
    longer = [run("two", 0, [0.1, 0.2, 0.9]), run("two", 1, [0.3, 0.4])]
    found = curve(longer, "sampled_tokens", "sampled")
    assert [(x, mean) for x, mean, _, _ in found] == [(0.0, pytest.approx(0.2)), (100.0, pytest.approx(0.3))]
    assert found[0][2:] == pytest.approx((0.1, 0.3))
    ((_, mean, low, high), _) = curve(longer[1:], "sampled_tokens", "sampled")
    assert low == high == mean == 0.3 and not math.isnan(low)


def test_the_sentence_says_who_is_best_and_whether_it_may_be_chance():
    assert sentence(compared(TRAINED)) == (
        "two has the highest held-out accuracy, 60.0 %, 30.0 points (30.0 to 30.0) above one."
    )
    uneven = {"one": TRAINED["one"], "two": [run("two", 0, [0.1, 0.1]), run("two", 1, [0.1, 0.8])]}
    assert sentence(compared(uneven)).endswith("the interval holds 0, so this may be chance.")
    assert "larger than chance" in sentence(compared(dict(reversed(TRAINED.items()))))
    assert "one seed has no interval" in sentence(compared({k: v[:1] for k, v in TRAINED.items()}))
