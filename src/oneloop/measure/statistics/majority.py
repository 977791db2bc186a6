"""maj@k: the chance that the answer most of k rollouts of a prompt agree on is right.

    a distinct answers   counts [a]   k of n = sum of counts drawn without replacement, ties broken evenly

The mean over all subsets of k is exact for k = 1 and k = n; in between it is the mean of 4096 drawn subsets.
"""

from collections.abc import Sequence

import numpy as np

DRAWS = 4096


def majority_at_k(answers: Sequence[str | None], correct: Sequence[float], k: int, seed: int = 0) -> float:
    """maj@k of one prompt from `answers` [n] and whether each is `correct` [n] (0..1).

    None is no answer: it never wins a vote, unless nobody answers, which counts 0. Rollouts with one answer
    count as their mean. Raises ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= len(answers):
        raise ValueError(f"k must be in 1..{len(answers)} (the rollouts of the prompt), got {k}")
    given = [answer for answer in answers if answer is not None]
    distinct = sorted(set(given))
    value = [
        float(np.mean([right for answer, right in zip(answers, correct, strict=True) if answer == one]))
        for one in distinct
    ]
    counts = [given.count(one) for one in distinct] + [len(answers) - len(given)]
    draw = np.random.Generator(np.random.Philox(seed))
    votes = draw.multivariate_hypergeometric(counts, k, size=1 if k == len(answers) else DRAWS)[:, :-1]
    if k == 1:
        return float(np.dot(counts[:-1], value)) / len(answers)
    most = votes.max(axis=1, initial=0)
    won = (votes == most[:, None]) & (most > 0)[:, None]
    return float(np.mean(won @ np.array(value) / np.maximum(1, won.sum(axis=1))))
