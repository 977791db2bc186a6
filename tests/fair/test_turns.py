"""fair/turns.py: each step once and in order, and nobody knows the label of somebody rejected."""

import numpy as np
import pytest

from oneloop.fair.exp2 import Exp2
from tests.fair.small import Table, numbered


@pytest.fixture
def learner():
    """Accepts the first of two people, always."""
    return Exp2(Table([[1, 0]]), penalty=1)


def test_out_of_turn(learner):
    with pytest.raises(ValueError, match="act: nothing was proposed in round 0"):
        learner.act()
    with pytest.raises(ValueError, match="update: round 0 was not acted on"):
        learner.update({})
    learner.propose(numbered(2))
    learner.propose(numbered(2))  # asked again before acting
    learner.act()
    with pytest.raises(ValueError, match="act: round 0 was acted on already"):
        learner.act()
    with pytest.raises(ValueError, match="propose: round 0 was acted on"):
        learner.propose(numbered(2))
    learner.update({0: 1})
    with pytest.raises(ValueError, match="update: round 1 was not acted on"):
        learner.update({0: 1})


def test_labels_that_cannot_be(learner):
    learner.propose(numbered(2))
    learner.act()
    with pytest.raises(ValueError, match="1 was not accepted in round 0"):
        learner.update({0: 1, 1: 0})
    with pytest.raises(
        ValueError, match="0 was accepted in round 0; give its label, or name it in `pending`"
    ):
        learner.update({})
    with pytest.raises(ValueError, match="label of person 0 of round 0 must be in .* got 2"):
        learner.update({0: 2})
    learner.update({}, pending=[0])
    with pytest.raises(ValueError, match="no label of person 1 of round 0 is pending"):
        learner.settle(0, {1: 1})
    with pytest.raises(ValueError, match="must be in .* got nan"):
        learner.settle(0, {0: float("nan")})
    learner.settle(0, {0: 1})
    with pytest.raises(ValueError, match="no label of person 0 of round 0 is pending"):
        learner.settle(0, {0: 1})
    learner.settle(0, {})


@pytest.mark.parametrize("x", [np.zeros((0, 1)), np.zeros(3), np.array([[np.nan]])])
def test_people_that_cannot_be(learner, x):
    with pytest.raises(ValueError, match="x must be"):
        learner.propose(x)
