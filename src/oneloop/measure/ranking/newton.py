"""Newton's method for the concave log-likelihoods of random utility models, with a Gaussian prior.

    theta <- theta + (J + lambda I)^-1 (g - lambda theta),   |step|_inf <= 2, halved while the objective falls

g and J are gradient and information of the log-likelihood. It does not see a constant added to all models
of a connected component, so with lambda = 0 each component is pinned to the sum 0 it started with; with
lambda > 0 the prior does that. Hunter's MM and the I-LSR iteration reach the same point linearly; this is
quadratic.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oneloop.measure.ranking.pool import Floats, Integers

LONGEST = 2.0
ENOUGH = 1e-10
MOST_STEPS = 100

Objective = Callable[[Floats], tuple[float, Floats, Floats]]
"""theta [m] -> (log-likelihood, gradient [m], information [m, m], which is minus the Hessian)."""


@dataclass(frozen=True)
class Fit:
    """The maximum of the objective, and its curvature there."""

    theta: Floats
    """float64 [m], sum 0 in each component."""
    curvature: Floats
    """float64 [m, m], information plus prior, with each component's sum pinned, so that it is invertible."""
    information: Floats
    """float64 [m, m], minus the Hessian of the log-likelihood alone."""
    log_likelihood: float
    """Log-likelihood at the maximum, without the prior."""
    steps: int
    """Newton steps taken."""
    converged: bool
    """Did the last step move no model by more than 1e-10?"""


def maximise(objective: Objective, component: Integers, precision: float) -> Fit:
    """The maximum of `objective` minus `precision`/2 |theta|^2; `component` [m] numbers connected models."""
    theta: Floats = np.zeros(len(component))
    steps, done = 0, False
    pin = (
        (component[:, None] == component) / np.bincount(component)[component]
        if len(theta)
        else np.zeros((0, 0))
    )
    here = objective(theta)
    while steps < MOST_STEPS and not done:
        steps += 1
        curvature = here[2] + precision * np.eye(len(theta)) + (0 if precision else pin)
        step = np.linalg.solve(curvature, here[1] - precision * theta)
        step *= min(1.0, LONGEST / max(np.abs(step).max(initial=0), 1e-300))
        moved, there = climb(objective, theta, here, step, precision)
        done = bool(np.abs(moved - theta).max(initial=0) <= ENOUGH)
        theta, here = moved, there
    curvature = here[2] + precision * np.eye(len(theta)) + (0 if precision else pin)
    return Fit(theta - pin @ theta, curvature, here[2], here[0], steps, done)


def climb(
    objective: Objective, theta: Floats, here: tuple[float, Floats, Floats], step: Floats, precision: float
) -> tuple[Floats, tuple[float, Floats, Floats]]:
    """(theta + step, the objective there), the step halved until the penalised objective does not fall."""

    def height(place: Floats, value: float) -> float:
        return value - precision / 2 * float(place @ place)

    # below what rounding can tell apart a fall is no fall
    lowest = height(theta, here[0]) - 1e-12 * (1 + abs(here[0]))
    for _ in range(50):
        there = objective(theta + step)
        if height(theta + step, there[0]) >= lowest:
            return theta + step, there
        step = step / 2
    return theta, here
