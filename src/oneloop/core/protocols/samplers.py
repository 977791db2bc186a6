"""What samples: beside the learner, and under a language policy."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts

Sampled = tuple[Rollouts, Rollouts]
"""(finished, unfinished)."""


class Sampler(Protocol):
    """Samples beside the learner, with weights of its own."""

    version: int
    """Version of the weights it has."""
    meter: Meter
    """Counts every evaluation of its network."""

    def sample(self, asked: Rollouts) -> Sampled:
        """(finished, unfinished); each row is continued from the actions it has."""

    def take(self, weights: Sequence[Tensor], version: int) -> None:
        """From now on the trained weights are a copy of `weights`, in the order of the model's parameters."""


@runtime_checkable
class Separable(Protocol):
    """A policy that can sample with a copy of its weights, in another thread, while it is trained."""

    def apart(self) -> Sampler:
        """A sampler with the present weights, on the same device; those that are not trained are shared."""


class Engine(Protocol):
    """Samples tokens for a language policy, in this process or on a server."""

    law: Any
    """The law tokens are drawn from: temperature, top-k, top-p, min-p."""
    positions: int | None
    """Tokens a sequence may have; None: no bound is known."""

    def generate(
        self,
        requests: Sequence[Any],
        enough: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """Replies in the order of `requests`. enough: once so many groups are complete, what still runs is
        aborted with what it has. progress(tokens so far, requests finished so far) after every step. A reply
        depends on its request's key, prefix and the weights alone, never on what else is asked."""

    def refresh(self) -> None:
        """The weights have changed."""
