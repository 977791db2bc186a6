"""Rankings from sample-level measurements of many kinds, most of them missing (ONEBench, arXiv 2412.06745).

    read(paths) or from_long, from_matrix, from_preferences -> merged -> where, query -> rank -> Ranking

Knows nothing of stages: a pool comes from files and tables, our own runs' rollouts among them.
"""

from oneloop.measure.ranking.agreement import Agreement, kendall_tau, top_overlap
from oneloop.measure.ranking.build import from_long, from_matrix, from_preferences
from oneloop.measure.ranking.merge import merged
from oneloop.measure.ranking.pool import RankingError, SamplePool
from oneloop.measure.ranking.rank import rank
from oneloop.measure.ranking.ranking import Ranking
from oneloop.measure.ranking.select import informative, random_samples, sparsify

__all__ = [
    "Agreement",
    "Ranking",
    "RankingError",
    "SamplePool",
    "from_long",
    "from_matrix",
    "from_preferences",
    "informative",
    "kendall_tau",
    "merged",
    "random_samples",
    "rank",
    "sparsify",
    "top_overlap",
]
