"""Fréchet distance of two sets of features, each taken for a normal law; 0 for a set and itself.

    |m - n|^2 + tr(S + T - 2 (S^1/2 T S^1/2)^1/2)        m, n means   S, T covariances (over n, not n - 1)

Of few samples it is biased upwards: compare sets of one size only.
"""

import numpy as np
from numpy.typing import ArrayLike


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Of features [n, d] and [m, d]. Raises ValueError for other shapes, or no samples.

    >>> frechet_distance([[-1.0], [1.0]], [[1.0], [1.0]])  # means 0 and 1, variances 1 and 0
    2.0
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (first, second))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(f"frechet: features must be [n, d] and [m, d], got {a.shape} and {b.shape}")
    apart = np.square(a.mean(0) - b.mean(0)).sum()
    s, t = covariance(a), covariance(b)
    root = square_root(s)
    shared = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()
    return float(max(0.0, apart + np.trace(s) + np.trace(t) - 2 * shared))


def covariance(features: np.ndarray) -> np.ndarray:
    """[d, d]."""
    centred = features - features.mean(0)
    found: np.ndarray = centred.T @ centred / len(features)
    return found


def square_root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance [d, d]."""
    values, vectors = np.linalg.eigh(matrix)
    found: np.ndarray = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return found
