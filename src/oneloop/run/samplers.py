"""Samplers that work beside the learner."""

from typing import Any

from oneloop.core.protocols import Sampler, Separable
from oneloop.recipe.runtime import Runtime


def samplers(policy: Any, options: Runtime) -> list[Sampler]:
    """As many as `options` want, each with a copy of the trained weights. Raises ValueError for a policy that
    cannot sample with a copy."""
    if not isinstance(policy, Separable):
        raise ValueError(
            f"runtime.ahead: {type(policy).__name__} cannot sample beside its update (it has no method "
            "`apart`); take 0"
        )
    return [policy.apart() for _ in range(options.samplers)]
