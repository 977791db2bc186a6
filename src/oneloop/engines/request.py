"""Requests to an engine and its replies. Token ids in, token ids out: no text is ever re-encoded.

Not here: rollouts, groups' rewards, stages. `group` is a bare label, used only to count complete groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oneloop.engines.features import Features

Progress = Callable[[int, int], None]
"""Called with tokens sampled so far and requests finished so far."""


@dataclass(frozen=True)
class Request:
    """One completion to sample."""

    key: int
    """64-bit randomness key: token t of the completion is drawn with uniforms(key, t) and nothing else."""
    group: int
    """Requests with one label form a group; only `enough` looks at it."""
    prompt: tuple[int, ...]
    """Token ids the model sees first; at least one."""
    limit: int
    """Completion tokens at most, those of `partial` included."""
    partial: tuple[int, ...] = ()
    """Completion tokens sampled before (by older weights perhaps); their cache is always computed afresh."""
    features: Features | None = None
    """Pictures that the prompt's placeholders stand for; None: the prompt is text alone."""


@dataclass(frozen=True, eq=False)
class Reply:
    """The new tokens of one request: those of `partial` are not repeated."""

    tokens: tuple[int, ...]
    """Ids; an end token, when the turn ended with one, is the last."""
    logprobs: NDArray[np.float32]
    """Log-probability of each token under the law it was drawn from."""
    status: Literal["stop", "length", "aborted"]
    """Ended by itself (end token, stop string), hit its limit, or interrupted by `enough`."""


def check(requests: Sequence[Request], positions: int | None, eos: frozenset[int] = frozenset()) -> None:
    """Refuse what cannot be sampled, naming the request by its place; `positions`: the model's window.

    Raises ValueError: empty prompt, nothing left to sample, a finished partial, or too many positions.
    """
    for place, request in enumerate(requests):
        where, sampled = f"requests[{place}]", len(request.partial)
        if not request.prompt:
            raise ValueError(
                f"{where}.prompt: is empty, must hold at least one token id (a BOS token, for example)"
            )
        if request.limit <= sampled:
            raise ValueError(
                f"{where}.limit: got {request.limit}, must be more than the {sampled} tokens of partial"
            )
        if sampled and request.partial[-1] in eos:
            raise ValueError(
                f"{where}.partial: already ended, its last token {request.partial[-1]} is an end token"
            )
        total = len(request.prompt) + request.limit
        if positions is not None and total > positions:
            raise ValueError(
                f"{where}: {len(request.prompt)} prompt tokens and a limit of {request.limit} make {total} "
                f"positions, but the model has {positions}; lower the limit to "
                f"{positions - len(request.prompt)} or cut the prompt"
            )


class Groups:
    """Counts finished requests by group, to know when `enough` groups are complete."""

    def __init__(self, requests: Sequence[Request], enough: int | None) -> None:
        self._open: dict[int, int] = {}
        for request in requests:
            self._open[request.group] = self._open.get(request.group, 0) + 1
        if enough is not None and not 1 <= enough <= len(self._open):
            raise ValueError(
                f"enough: got {enough}, must be between 1 and the {len(self._open)} groups asked for"
            )
        self._missing = enough

    def finish(self, group: int) -> bool:
        """Note one finished request of the group; True once enough groups are complete."""
        self._open[group] -= 1
        if self._missing is not None and self._open[group] == 0:
            self._missing -= 1
        return self.reached

    @property
    def reached(self) -> bool:
        """Whether enough groups are complete, so that what still runs may be aborted."""
        return self._missing is not None and self._missing <= 0
