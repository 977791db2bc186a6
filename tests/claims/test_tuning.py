"""benchmarks/claims/tuning.py: grids that make sense, and the best value inside of them."""

import math

import pytest
from benchmarks.claims.claim import Arm, Claim
from benchmarks.claims.tuning import SEEDS, choose


def by(function):
    return lambda asked: {task: function(task[1]) for task in asked}


@pytest.mark.parametrize(
    ("function", "bounds", "chosen", "interior", "size"),
    [
        (lambda x: -((x - 2.0) ** 2), (0, math.inf), 2.0, True, 4),
        (lambda x: -x, (0, math.inf), 0.0625, False, 8),  # better and better, the smaller: four growths
        (lambda x: -x, (0.5, math.inf), 0.5, True, 5),  # nothing smaller makes sense
        (lambda x: min(x, 2.0), (0, math.inf), 4.0, True, 4),  # a plateau from 2 on: its middle
    ],
)
def test_the_best_value_is_looked_for_beyond_the_ends(function, bounds, chosen, interior, size):
    choice = choose([Arm("a", (1.0, 2.0, 4.0, 8.0), bounds), Arm("fixed")], by(function))["a"]
    assert (choice.chosen, choice.interior, len(choice.tried)) == (chosen, interior, size)


def test_values_are_chosen_by_the_mean_over_the_tuning_seeds():
    scores = {2.0: (0, 0, 9), 1.0: (2, 2, 2), 4.0: (0, 0, 0), 8.0: (0, 0, 0)}
    choice = choose(
        [Arm("a", (1.0, 2.0, 4.0, 8.0), (1.0, 8.0))],
        lambda asked: {task: scores[task[1]][SEEDS.index(task[2])] for task in asked},
    )["a"]
    assert choice.chosen == 2.0 and choice.tried[2.0] == 3.0


def test_small_and_coarse_grids_and_incomplete_claims_are_refused():
    with pytest.raises(ValueError, match="at least 4 values, got 3"):
        Arm("a", (1.0, 2.0, 3.0))
    for grid in ((1.0, 10.0, 20.0, 40.0), (4.0, 2.0, 1.0, 0.5), (0.0, 1.0, 2.0, 4.0)):
        with pytest.raises(ValueError, match=r"by factors of at most 3\.5"):
            Arm("a", grid)
    known = {"paper": "p", "parts": (), "recipe": "r", "claim": "c", "target": 1.0, "headline": len}
    for wrong, words in (
        ({"arms": (Arm("a"),)}, "how one is trained"),
        ({"arms": (Arm("a", (1.0, 2.0, 4.0, 8.0)),), "train": len}, "by which score"),
        ({"arms": (Arm("a"),), "train": len}, "what work counts"),
        ({"arms": (Arm("a"),), "train": len, "work": "w"}, "is at its best setting without one"),
    ):
        with pytest.raises(ValueError, match=words):
            Claim(**known, **wrong)
