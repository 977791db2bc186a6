"""maj@k against counting all subsets."""

from itertools import combinations

import numpy as np
import pytest

from oneloop.measure.statistics.majority import majority_at_k


def counted(answers, correct, k):
    """The mean over all subsets of k, ties broken evenly."""
    won = []
    for subset in combinations(range(len(answers)), k):
        votes = [answers[i] for i in subset if answers[i] is not None]
        most = max((votes.count(a) for a in votes), default=0)
        best = {a for a in votes if votes.count(a) == most}
        value = {a: correct[answers.index(a)] for a in best}
        won.append(sum(value.values()) / len(best) if best else 0.0)
    return float(np.mean(won))


@pytest.mark.parametrize(
    ("answers", "right"),
    [("aabbc", "a"), ("abcd", "c"), ("aaaaab", "b"), ("ab", "b"), (["a", None, None, "b", "b"], "b")],
)
def test_it_is_the_mean_over_subsets(answers, right):
    answers = list(answers)
    correct = [float(answer == right) for answer in answers]
    for k in range(1, len(answers) + 1):
        exact = k in (1, len(answers))
        close = pytest.approx(counted(answers, correct, k), abs=1e-12 if exact else 0.025)
        assert majority_at_k(answers, correct, k) == close


def test_no_answer_at_all_is_wrong_and_a_bad_k_is_refused():
    assert majority_at_k([None, None], [0.0, 0.0], 2) == 0
    assert majority_at_k(["x", "x", "x"], [1.0, 1.0, 1.0], 2) == 1
    with pytest.raises(ValueError, match=r"k must be in 1\.\.2 .*, got 3"):
        majority_at_k(["x", "y"], [1.0, 0.0], 3)
