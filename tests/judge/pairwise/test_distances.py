"""tools/pairs.py: built-in distances of two rollouts, and one of one's own at hand."""

import numpy as np
import pytest

from oneloop.core.judge_limits import JudgeLimits
from oneloop.judge.pairwise.distances import BUILT_IN, distances

SHOWN = [
    {"text": "4+4=8", "prompt": "?", "likelihood": 0.9},
    {"text": "4+4=8", "prompt": "?", "likelihood": 0.4},
    {"text": "xyz", "prompt": "?", "likelihood": 0.4},
]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("text", [[0, 0, 1], [0, 0, 1], [1, 1, 0]]), ("likelihood", [[0, 0.5, 0.5], [0.5, 0, 0], [0.5, 0, 0]])],
)
def test_built_in(name, wanted):
    assert distances(name, SHOWN, JudgeLimits()) == pytest.approx(np.array(wanted), abs=1e-12)
    assert all(distance(SHOWN[0], SHOWN[0]) == 0 for distance in BUILT_IN.values())


def test_ordered_pairs_of_a_function_at_hand():
    found = distances(lambda a, b: float(a["likelihood"] > b["likelihood"]), SHOWN, JudgeLimits())
    assert found.tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert distances("text", SHOWN[:1], JudgeLimits()).tolist() == [[0]]
