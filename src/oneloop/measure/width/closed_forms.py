"""How many rollouts a prompt needs: closed forms to plan N with (BroRL, arXiv 2510.01180, Lemma 2).

    a group carries signal            1 - q^N - (1 - q)^N                                  pass rate q
    the same, q ~ Beta(a, b)          1 - B(a + N, b) / B(a, b) - B(a, b + N) / B(a, b)    a set of prompts
    unsampled second moment           sum p_i^2 (1 - p_i)^N  <=  (N / (N + 1))^N / (N + 1)  ~  1 / (e N)

Tokens much rarer than 1/N stay unsampled at any affordable N: their second moment vanishes, not their number.
The bound needs no vocabulary: p (1 - p)^N is largest at p = 1 / (N + 1), and the p_i sum to 1.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln

from oneloop.measure.statistics.passk import Floats


def mixed_group_probability(pass_rate: ArrayLike, rollouts: int) -> Floats:
    """Chance that a group of `rollouts` has both a right and a wrong one, for each pass rate in [0, 1]."""
    rate = np.asarray(pass_rate, dtype=np.float64)
    if not np.all((rate >= 0) & (rate <= 1)):
        raise ValueError(f"pass_rate must lie in [0, 1], got {rate.min()} to {rate.max()}")
    _check(rollouts, 1)
    return np.asarray(1 - rate**rollouts - (1 - rate) ** rollouts)


def expected_mixed_groups(a: float, b: float, rollouts: int) -> float:
    """Share of groups that carry signal when pass rates follow Beta(a, b); a, b below 1: mostly 0 or 1."""
    if not (a > 0 and b > 0):
        raise ValueError(f"a Beta law needs a > 0 and b > 0, got {a} and {b}")
    _check(rollouts, 1)
    all_right, all_wrong = betaln(a + rollouts, b) - betaln(a, b), betaln(a, b + rollouts) - betaln(a, b)
    return float(1 - np.exp(all_right) - np.exp(all_wrong))


def expected_unsampled_second_moment(probabilities: ArrayLike, rollouts: int) -> Floats:
    """sum p_i^2 (1 - p_i)^N over the last axis, float64: what is left of p^2 on tokens no rollout hits."""
    p = np.asarray(probabilities, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"probabilities must lie in [0, 1], got {p.min()} to {p.max()}")
    _check(rollouts, 0)
    return np.asarray((p**2 * (1 - p) ** rollouts).sum(-1))


def unsampled_second_moment_bound(rollouts: int) -> float:
    """The most it can be for any law over any vocabulary."""
    _check(rollouts, 0)
    return float((rollouts / (rollouts + 1)) ** rollouts / (rollouts + 1))


def _check(rollouts: int, least: int) -> None:
    if rollouts < least:
        raise ValueError(f"rollouts must be at least {least}, got {rollouts}")
