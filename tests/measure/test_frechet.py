"""Fréchet distance of sets of features."""

import numpy as np
import pytest

from oneloop.measure.frechet import frechet_distance

RANDOM = np.random.default_rng(0)


def test_closed_forms():
    """Normal laws of one dimension: (m - n)^2 + (s - t)^2; equal covariances: the means alone."""
    assert frechet_distance([[-1.0], [1.0]], [[-1.0], [3.0]]) == pytest.approx(1 + (2 - 1) ** 2)
    features = RANDOM.standard_normal((50, 3))
    shift = np.array([1.0, -2.0, 0.5])
    assert frechet_distance(features, features + shift) == pytest.approx(5.25)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-12)
    # along one's own axes: the sum over axes of (s - t)^2
    wide = features @ np.diag([2.0, 1.0, 1.0])
    turn, _ = np.linalg.qr(RANDOM.standard_normal((3, 3)))
    assert frechet_distance(features @ turn, wide @ turn) == pytest.approx(frechet_distance(features, wide))


def test_the_root_is_that_of_scipy():
    from scipy.linalg import sqrtm

    a, b = RANDOM.standard_normal((40, 4)), RANDOM.standard_normal((30, 4)) @ RANDOM.standard_normal((4, 4))
    s, t = (np.cov(each.T, bias=True) for each in (a, b))
    wanted = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    # fewer samples than features: covariances without an inverse
    assert frechet_distance(a[:2], a[:2]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("other", [np.zeros((3, 2)), np.zeros(3), np.zeros((0, 3))])
def test_other_shapes_are_refused(other):
    with pytest.raises(ValueError, match=r"features must be \[n, d\] and \[m, d\]"):
        frechet_distance(np.zeros((4, 3)), other)
