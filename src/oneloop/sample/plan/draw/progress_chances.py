"""The state of a law of draws that follows learning progress.

Every draw is named by a number. A look gives new probabilities to numbers above all drawn so far, so that a
number has one probability for ever, whoever asks again: the rows of a group that come in rounds, and a
resumed run. Numbers must therefore grow (groups, rollouts and steps do). The laws so far are kept: they are
the curve of the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from oneloop.core.budgets import drawn as drawn_from
from oneloop.core.rollouts import Rollouts
from oneloop.sample.plan.draw.rules import (
    Adam,
    Numbers,
    by_rate,
    entropy,
    per_draw,
    shift_gradient,
    smoothed,
    softmax,
    uniform,
    with_floor,
)

if TYPE_CHECKING:
    from oneloop.sample.plan.draw.progress import Progress

SHOWN = 16
"""Things up to which each has a metric of its own."""
ARRAYS = ("loss", "drawn", "improvement", "total", "count")


class ProgressChances:
    """`oneloop.core.protocols.Chances` of K things under the rule of `options`."""

    def __init__(self, options: Progress, size: int):
        self.options, self.size = options, size
        self.looks = self.skipped = 0
        """Looks taken, and losses left out because they were not finite."""
        self.loss, self.improvement = np.full((2, size), np.nan)
        """[K] each, the latest loss, and the smoothed improvement in one draw; NaN: not known yet."""
        self.drawn = np.zeros(size)
        """[K], draws since the loss was last looked at."""
        self.total, self.count = np.zeros((2, size))
        """[K] each, sum and number of the losses of rollouts since the last look."""
        self.adam = Adam(np.zeros(size), options.lr)
        self.laws, self.since, self.newest = [uniform(size)], [0], -1
        """Probabilities [K] one after the other, and the first number drawn with each."""

    @property
    def probabilities(self) -> Numbers:
        """[K], of the next draw."""
        return self.laws[-1]

    @property
    def entropy(self) -> float:
        """Of the next draw, in nats."""
        return entropy(self.probabilities)

    def draw(self, seed: int, numbers: Any) -> NDArray[np.int64]:
        """int64, places 0..K-1, one for each of `numbers`: a function of (seed, number, the law then)."""
        named = np.atleast_1d(np.asarray(numbers, dtype=np.int64))
        self.newest = max(self.newest, int(named.max(initial=-1)))
        of = np.searchsorted(self.since, named, "right") - 1
        places = np.zeros(len(named), dtype=np.int64)
        for law in np.unique(of):
            places[of == law] = drawn_from(self.laws[law], seed, named[of == law])
        return places.reshape(np.shape(numbers))

    # what is learned

    def learn(self, place: NDArray[np.int64], judged: Rollouts) -> None:
        """`judged` rollouts came back that were drawn at `place` [n]; looks when `every` have."""
        if self.options.signal == "reward":
            self._heard(place, -judged.reward.double().numpy())

    def after_update(self, place: NDArray[np.int64], batch: Rollouts) -> None:
        """The weights have learned from `batch`, drawn at `place` [n]; its `nll` is from before that."""
        if self.options.signal == "nll":
            nll = batch.actions["nll"].double()
            known = torch.where(nll.isnan(), 0.0, nll)
            count = batch.gather((~nll.isnan()).double(), "sum")
            self._heard(place, (batch.gather(known, "sum") / count).numpy())

    def _heard(self, place: NDArray[np.int64], loss: Numbers) -> None:
        known = ~np.isnan(loss)  # no verdict is nothing to learn from
        np.add.at(self.total, place[known], loss[known])
        np.add.at(self.count, place[known], 1)
        if self.count.sum() < self.options.every:
            return
        measured = self.count > 0
        mean = np.divide(self.total, self.count, out=np.full(self.size, np.nan), where=measured)
        self.observe(mean, self.count, measured)
        self.total, self.count = np.zeros((2, self.size))

    def observe(self, loss: ArrayLike, drawn: ArrayLike, measured: ArrayLike | None = None) -> None:
        """A look: the loss [K] now, and the draws [K] that were learned from since the last call.

        measured: bool [K], which losses are given; None: all. One that is not finite is left out and
        counted in `skipped`: that thing keeps its draws and is compared at the next look.
        """
        now = np.array(loss, dtype=np.float64)
        given = np.ones(self.size, dtype=bool) if measured is None else np.asarray(measured, dtype=bool)
        self.drawn = self.drawn + np.asarray(drawn, dtype=np.float64)
        finite = given & np.isfinite(now)
        self.skipped += int((given & ~finite).sum())
        change = np.where(finite, now - self.loss, np.nan)
        gained = per_draw(change, self.drawn)
        self.improvement = smoothed(self.improvement, gained, self.options.smoothing)
        self.loss = np.where(finite, now, self.loss)
        self.drawn = np.where(finite, 0.0, self.drawn)
        self.looks += 1
        if self.looks > self.options.warmup:
            self._put(self._ruled(change))

    def _ruled(self, change: Numbers) -> Numbers:
        """[K], the rule's probabilities, after losses changed by `change` [K] (NaN: not known)."""
        rule, known = self.options.rule, ~np.isnan(change)
        if rule == "rate":
            return by_rate(self.improvement, self.options.power)
        if rule == "uniform" or not known.any() or (change[known] >= 0).all():
            return uniform(self.size)
        now = softmax(self.adam.logits)
        # what was not measured counts as the mean: it is neither drawn more nor less for it
        mean = (now[known] @ change[known]) / now[known].sum()
        self.adam.step(shift_gradient(now, np.where(known, change, mean)))
        return softmax(self.adam.logits)

    def _put(self, probabilities: Numbers) -> None:
        law = with_floor(probabilities, self.options.floor)
        if self.since[-1] > self.newest:  # nothing was drawn with the last one
            self.laws[-1] = law
        else:
            self.laws.append(law)
            self.since.append(self.newest + 1)

    def metrics(self, name: str, labels: Sequence[str]) -> dict[str, float]:
        """Entropy in nats, losses left out so far, and how likely each of few `labels` is."""
        readings = {f"{name}/entropy": self.entropy, f"{name}/skipped": float(self.skipped)}
        if self.size <= SHOWN:
            likely = zip(labels, self.probabilities.tolist(), strict=True)
            readings |= {f"{name}/p_{label}": probability for label, probability in likely}
        return readings

    # checkpoint

    def state_dict(self) -> dict[str, Any]:
        """All that the next draws and looks depend on."""
        adam = {"logits": self.adam.logits, "first": self.adam.first, "second": self.adam.second}
        arrays = {name: getattr(self, name) for name in ARRAYS} | adam | {"laws": np.stack(self.laws)}
        return {
            **{name: torch.from_numpy(np.array(values)) for name, values in arrays.items()},
            "since": torch.tensor(self.since),
            "counters": [self.looks, self.skipped, self.newest, self.adam.steps],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`: same seed and numbers, same draws."""
        for name in ARRAYS:
            setattr(self, name, state[name].numpy().copy())
        for name in ("logits", "first", "second"):
            setattr(self.adam, name, state[name].numpy().copy())
        self.laws, self.since = list(state["laws"].numpy().copy()), state["since"].tolist()
        self.looks, self.skipped, self.newest, self.adam.steps = state["counters"]
