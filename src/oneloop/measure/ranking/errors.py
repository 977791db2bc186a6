"""Cluster-robust covariance of a ranking: the sample is the unit of observation, not the pair.

    cov = H^-1 B H^-1,   B = n/(n-1) sum over samples of g_s g_s^T

k measurements of one sample make k(k-1)/2 pairs that share its difficulty and its noise; the inverse of the
information, which takes them for independent, is too narrow (Liang and Zeger 1986). Not here: the
uncertainty of which samples a pool has at all (a bootstrap has the same limit).
"""

import numpy as np
from scipy.sparse import csr_array

from oneloop.measure.ranking.pool import Floats, SamplePool

ROWS = 100_000
"""Number of samples whose gradients are multiplied at once."""


def cluster_covariance(
    pool: SamplePool, curvature: Floats, of_cells: Floats, of_preferences: Floats
) -> Floats:
    """float64 [m, m] of theta with sum 0, from the gradient of each cell [c] and each preference [q]."""
    n, m = len(pool.samples), len(pool.models)
    gradient = csr_array((of_cells, pool.model, pool.start), shape=(n, m))
    given = pool.preferences
    if len(given):
        sides = np.concatenate([given.left, given.right])
        values, rows = np.concatenate([of_preferences, -of_preferences]), np.tile(given.sample, 2)
        gradient = (gradient + csr_array((values, (rows, sides)), shape=(n, m))).tocsr()
    spread = np.zeros((m, m))
    for begin in range(0, n, ROWS):
        part = gradient[begin : begin + ROWS]
        spread += (part.T @ part).toarray()
    informative = int((np.diff(gradient.indptr) > 1).sum())
    inverse = np.linalg.inv(curvature)
    return inverse @ (spread * informative / max(1, informative - 1)) @ inverse
