"""The averages that leaderboards print, with standard errors: over samples, and over sources.

    mean         average score over the samples a model was measured on: what is easy counts for who took it
    macro_mean   average of the means of each source a model was measured on: sources weigh alike

Both compare sizes of scores, so they need one scale; a mean over a random half of the samples is unbiased,
over the half that suits a model it is not. Preferences have no score and are left out.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oneloop.measure.ranking.pool import Floats, SamplePool


def mean(pool: SamplePool) -> tuple[Floats, Floats]:
    """(mean [m], standard error [m]); NaN where there is nothing, or too little, to average."""
    return _of_groups(pool, pool.model.astype(np.int64), len(pool.models))


def macro_mean(pool: SamplePool) -> tuple[Floats, Floats]:
    """(mean over sources of the mean score [m], its standard error [m])."""
    m, s = len(pool.models), len(pool.sources)
    group = pool.model * s + pool.source[pool.sample]
    means, errors = (values.reshape(m, s) for values in _of_groups(pool, group, m * s))
    known = ~np.isnan(means)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = np.where(known, means, 0).sum(axis=1) / known.sum(axis=1)
        error = np.sqrt((np.where(known, errors, 0) ** 2).sum(axis=1)) / known.sum(axis=1)
    return middle, error


def _of_groups(pool: SamplePool, group: NDArray[Any], size: int) -> tuple[Floats, Floats]:
    count = np.bincount(group, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = np.bincount(group, pool.value, size) / count
        squares = np.bincount(group, (pool.value - middle[group]) ** 2, size)
        return middle, np.sqrt(squares / (count - 1) / count)
