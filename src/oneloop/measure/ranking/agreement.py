"""How alike two rankings are: Kendall's tau-b and the share of the best that both name."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from oneloop.measure.ranking.pool import RankingError
from oneloop.measure.ranking.ranking import SAME, Ranking

Scores = Ranking | Mapping[str, float]


class Agreement(NamedTuple):
    """How well two rankings agree: Kendall's tau-b over the models that both rank."""

    tau: float
    models: int
    """Models compared."""
    dropped: tuple[str, ...]
    """Models that only one of the two ranks."""


def kendall_tau(ours: Scores, theirs: Scores) -> Agreement:
    """Agreement in order; scores within 1e-9 count as equal. Raises RankingError below two common models."""
    first, second = as_scores(ours), as_scores(theirs)
    common = sorted(first.keys() & second.keys())
    if len(common) < 2:
        raise RankingError(f"kendall_tau needs two models that both rank, got {len(common)}")
    a, b = ([round(scores[name] / SAME) for name in common] for scores in (first, second))
    return Agreement(
        float(kendalltau(a, b).statistic), len(common), tuple(sorted(first.keys() ^ second.keys()))
    )


def top_overlap(ours: Scores, theirs: Scores, k: int = 10) -> float:
    """|best k of ours and of theirs| / k. Raises RankingError where one ranks fewer than k models."""
    best = []
    for scores in map(as_scores, (ours, theirs)):
        if not 1 <= k <= len(scores):
            raise RankingError(f"k: must be 1 to {len(scores)}, the models ranked, got {k}")
        best.append({name for name, _ in sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]})
    return len(best[0] & best[1]) / k


def as_scores(given: Scores) -> dict[str, float]:
    """{model: score}. Raises RankingError for a ranking in several components, which has no joint order."""
    if isinstance(given, Ranking):
        if np.any(given.component):
            raise RankingError(
                "the ranking is in groups that cannot be compared; compare each group by itself"
            )
        return given.as_dict
    return dict(given)
