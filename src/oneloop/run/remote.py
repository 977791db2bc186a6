"""Samplers and judges of a run on the workers of a Ray cluster.

Each worker makes its own policy, or judges, from the text of the recipe, in the folder in which the run was
started. Weights go to the object store once a version, and a worker pulls them when it samples with another
version than before. Sampled rollouts stay where they were made: a judge pulls them from there, and this
process fetches them for the journal.
"""

import os
import platform
import threading
from typing import Any

import torch
from torch import Tensor

from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts
from oneloop.judge.stage import Judging
from oneloop.parallel.runtime.cluster import RayWorker
from oneloop.recipe import text as recipe_text
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import Recipe, load_recipe


class Store:
    """References to what is in the object store."""

    def __init__(self) -> None:
        self._weights: dict[int, Any] = {}
        self._rollouts: dict[int, tuple[Rollouts, Any]] = {}
        self._turn = threading.Lock()

    def weights(self, version: int, weights: list[Tensor]) -> Any:
        """A reference to the weights of `version`, put there the first time; the last two are kept."""
        import ray

        with self._turn:
            if version not in self._weights:
                self._weights = dict(sorted(self._weights.items())[-1:])
                self._weights[version] = ray.put([weight.cpu() for weight in weights])
            return self._weights[version]

    def remember(self, rollouts: Rollouts, reference: Any) -> None:
        """`rollouts` were fetched from there."""
        self._rollouts[id(rollouts)] = (rollouts, reference)

    def reference(self, rollouts: Rollouts) -> Any:
        """Where `rollouts` are, once; else the rollouts themselves."""
        return self._rollouts.pop(id(rollouts), (rollouts, rollouts))[1]


class RemoteSampler:
    """A sampler whose network is in a worker's process. See `oneloop.core.protocols.Sampler`."""

    def __init__(self, worker: RayWorker, store: Store):
        self.version, self.meter = -1, Meter()
        self._worker, self._store, self._weights = worker, store, None

    def take(self, weights: Any, version: int) -> None:
        """See `oneloop.core.protocols.Sampler`."""
        self.version, self._weights = version, self._store.weights(version, weights)

    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """See `oneloop.core.protocols.Sampler`."""
        import ray

        made = self._worker(asked, self.version, self._weights, parts=3)
        evaluations, finished, unfinished = ray.get(list(made))
        self.meter.plain += evaluations
        self._store.remember(finished, made[1])
        return finished, unfinished


class RemoteJudge:
    """Judges in a worker's process; what they judge is pulled from where it was sampled."""

    def __init__(self, worker: RayWorker, store: Store):
        self._worker, self._store = worker, store

    def __call__(self, finished: Rollouts) -> Rollouts:
        """The rollouts with their verdicts."""
        import ray

        judged: Rollouts = ray.get(self._worker(self._store.reference(finished)))
        return judged


class Samples:
    """The policy of the recipe `text`, in a worker."""

    def __init__(self, text: str, folder: str, threads: int):
        torch.set_num_threads(threads)
        self._policy = recipe_of(text, folder).policy.open()
        self._version = -1

    def __call__(
        self, asked: Rollouts, version: int, weights: list[Tensor]
    ) -> tuple[int, Rollouts, Rollouts]:
        """(network evaluations, finished, unfinished), sampled with `weights`."""
        if version != self._version:
            self._policy.take(weights, version)
            self._version = version
        before = self._policy.meter.plain
        finished, unfinished = self._policy.sample(asked)
        return self._policy.meter.plain - before, finished, unfinished


class Judges:
    """The judges of a phase of the recipe `text`, in a worker."""

    def __init__(self, text: str, folder: str, phase: str):
        self._judging = Judging(recipe_of(text, folder).phases[phase].judge)
        self._judging.begin()

    def __call__(self, finished: Rollouts) -> Rollouts:
        """The rollouts with their verdicts."""
        return self._judging(finished)


def recipe_of(text: str, folder: str) -> Recipe:
    """The recipe that `oneloop.recipe.text.written` wrote, its relative paths from `folder` on.

    This process works in `folder` from now on, if this machine has it. Raises RecipeError, and ValueError
    where a recipe does not load on a machine without `folder`.
    """
    if there := os.path.isdir(folder):
        os.chdir(folder)
    try:
        return load_recipe(recipe_text.parse(text))[0]
    except RecipeError as error:
        if there:
            raise
        raise ValueError(
            f"{error}; machine {platform.node()} has no folder {folder}, where the run was started and where "
            "relative paths begin: put it there, or write whole paths in the recipe"
        ) from error
