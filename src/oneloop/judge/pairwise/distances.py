"""Distances between two rollouts, for auditors who compare them (judge/one_sided.py).

A rollout is shown as a mapping: text, prompt, and its likelihood (geometric mean of its actions'
probabilities).
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oneloop.core.judge_limits import JudgeLimits
from oneloop.judge.isolation.in_process import Live
from oneloop.judge.isolation.sandbox import Sandbox, shared

Shown = Mapping[str, Any]
Pairs = Sequence[tuple[Shown, Shown]]


def text(a: Shown, b: Shown) -> float:
    """1 - the ratio of characters that match (difflib): 0 for equal texts."""
    return 1.0 - SequenceMatcher(None, a["text"], b["text"], autojunk=False).ratio()


def likelihood(a: Shown, b: Shown) -> float:
    """Difference of the likelihoods of two rollouts."""
    return float(abs(a["likelihood"] - b["likelihood"]))


def adapted(distance: Callable[[Shown, Shown], float]) -> Callable[[Pairs], list[float]]:
    """`distance`, called once for all pairs."""

    def distances(pairs: Pairs) -> list[float]:
        return [float(distance(a, b)) for a, b in pairs]

    return distances


BUILT_IN: dict[str, Callable[[Shown, Shown], float]] = {"text": text, "likelihood": likelihood}


def distances(
    auditor: str | Callable[[Shown, Shown], float], shown: Sequence[Shown], limits: JudgeLimits
) -> NDArray[np.float64]:
    """[k, k] of the ordered pairs of `shown`, by a name of BUILT_IN, a path, or a function at hand.

    By path it runs in a process with `limits`. Raises ValueError, with what happened, when it fails.
    """
    places = list(permutations(range(len(shown)), 2))
    own = BUILT_IN.get(auditor) if isinstance(auditor, str) else auditor
    runner: Live | Sandbox
    if own is not None:
        runner = Live(adapted(own))
    else:
        runner = shared(str(auditor), limits, adapter="oneloop.judge.pairwise.distances.adapted")
    (outcome,) = runner.run([[(shown[a], shown[b]) for a, b in places]], limits.timeout)
    if outcome.error is not None:
        raise ValueError(f"auditor {auditor!r} failed: {outcome.error}")
    matrix = np.zeros((len(shown), len(shown)))
    for (a, b), value in zip(places, outcome.value, strict=True):
        matrix[a, b] = value
    return matrix
