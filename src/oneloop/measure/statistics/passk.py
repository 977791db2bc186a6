"""pass@k: the chance that at least one of k rollouts of a prompt is correct.

    pass@k = 1 - (1 - q)^k                 from the pass rate q, if it is known
    pass@k ~ 1 - C(n - c, k) / C(n, k)     from c correct of n >= k rollouts, without bias (arXiv 2107.03374)

Putting c / n for q is biased downwards: it forgets that k rollouts are drawn without replacement.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]


def pass_at_k(pass_rate: ArrayLike, k: int) -> Floats:
    """1 - (1 - q)^k for each pass rate q in [0, 1]. Raises ValueError for another rate, or k below 1."""
    rate = np.asarray(pass_rate, dtype=np.float64)
    if not np.all((rate >= 0) & (rate <= 1)):
        raise ValueError(f"pass_rate must lie in [0, 1], got {rate.min()} to {rate.max()}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(k * np.log1p(-rate)))


def unbiased_pass_at_k(rollouts: ArrayLike, correct: ArrayLike, k: int) -> Floats:
    """Unbiased, for each prompt with `correct` of `rollouts` right; 1 where fewer than k are wrong.

    Raises ValueError unless 0 <= correct <= rollouts and 1 <= k <= rollouts.
    """
    n, c = np.broadcast_arrays(np.asarray(rollouts, dtype=np.float64), np.asarray(correct, dtype=np.float64))
    if np.any((c < 0) | (c > n)):
        raise ValueError("correct must lie in 0..rollouts for every prompt")
    if k < 1 or np.any(n < k):
        raise ValueError(f"k must be in 1..{int(n.min())} (the rollouts of every prompt), got {k}")
    wrong = n - c
    few = wrong < k
    safe = np.where(few, k, wrong)
    chance = gammaln(safe + 1) - gammaln(safe - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(few, 1.0, -np.expm1(chance))
