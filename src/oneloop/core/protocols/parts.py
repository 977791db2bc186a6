"""What a recipe names besides models and objectives: data, judges, dress, count, keep, draw, ..."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.rollouts import Rollouts, Table


def trait(instance: Any, defaults: type, name: str) -> Any:
    """The attribute `name` of `instance`, or its value in the class `defaults`."""
    return getattr(instance, name, vars(defaults)[name])


class Data(Protocol):
    """Rows by number. A row is a dict with `prompt` (text, or a list of chat messages) and free columns."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row, the same for the same key always."""


class DataDefaults:
    """What data may say of themselves; what they leave out is as here."""

    chat: bool | None = None
    """Whether prompts are messages of a chat; None: not said."""


class Part(Protocol):
    """A judge, credit, select or dress part: reads columns, returns rollouts with more columns.

    A judge writes `reward.<name>`, a credit part `actions.advantage`, a select part `actions.share`; a dress
    part rewrites rows that nobody has sampled yet.
    """

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with the columns this part writes."""


class JudgeDefaults:
    """What a judge may say of itself; what it leaves out is as here."""

    name = ""
    """In the columns it writes, `reward.<name>` and `error.<name>`; empty: its class in small letters."""
    weight = 1.0
    """In the sum of the judges; 0: only logged."""
    extract: str | None = None
    """Regular expression that finds the answer in a text, for voting; None: the whole text is the answer."""
    limits = JudgeLimits()
    """What a failure does, and how often a rollout on which it failed is judged again."""
    no_gradient = ""
    """Why its verdicts cannot be differentiated, in words; empty: they can (`Grader`)."""


class DressDefaults:
    """What a dress part may say of itself; what it leaves out is as here. One that learns: `Remembering`."""

    learns: tuple[str, ...] = ()
    """Columns of judged rows from which it learns."""
    steps_needed = 0
    """Calls of its network that a flow policy must make for what this part asks."""


class Count(Protocol):
    """How many rollouts each group gets, in how many rounds."""

    n: int
    """Rollouts a group has, or has on average."""
    rounds: int
    """How often a group is asked for more before it is complete."""

    def more(self, groups: Table) -> Tensor:
        """int64 [G], for each idle group: n > 0 rows are issued; 0: it is complete; -1: nothing in this
        round, but it is asked about again. Columns of `groups`, each [G]: group, round, rollouts issued,
        verdicts; of these mean, std and best reward."""


class Keep(Protocol):
    """Which complete groups are worth learning from; the plan replaces those refused by new prompts."""

    def keeps(self, group: Rollouts) -> bool:
        """Whether the complete, judged `group` is worth learning from."""


class Draw(Protocol):
    """How likely each of several things is drawn: budgets, classes of prompts."""

    def chances(self, choices: Sequence[float]) -> "Chances":
        """The probabilities of `choices` [K] before anything is learned. Raises ValueError where they are
        none of which it can say so."""


class DrawDefaults:
    """What a draw part may say of itself; what it leaves out is as here."""

    learns: tuple[str, ...] = ()
    """Columns of judged rows from which it learns."""


class Chances(Protocol):
    """Probabilities of K things, which may follow what is learned. Every draw is named by a number: whoever
    asks again for the same number is given the same thing."""

    probabilities: NDArray[np.float64]
    """[K], of the next draw."""

    def draw(self, seed: int, numbers: Any) -> NDArray[np.int64]:
        """Places 0..K-1, one for each of `numbers`, which grow from call to call or were drawn before."""

    def learn(self, place: NDArray[np.int64], judged: Rollouts) -> None:
        """The rollouts `judged` came back that were drawn at `place` [n]."""

    def after_update(self, place: NDArray[np.int64], batch: Rollouts) -> None:
        """The weights have learned from `batch`, drawn at `place` [n]."""

    def metrics(self, name: str, labels: Sequence[str]) -> dict[str, float]:
        """Metrics that begin with `name`, of things called `labels` [K]; none where nothing changes."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next draws depend on, as JSON values and tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave, to the bit."""


@runtime_checkable
class Remembering(Protocol):
    """A judge or dress part that learns from judged rollouts, so that it has a state to save."""

    def begin(self) -> None:
        """A phase starts: forgets everything."""

    def learn(self, judged: Rollouts) -> Any:
        """Sees the judged rollouts of one ask, new or from the journal, before the next ask. A dress part
        returns them as they are to be trained on."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON values and tensors."""

    def load_state_dict(self, state: Any) -> None:
        """What `state_dict` gave, to the bit."""


@runtime_checkable
class Listening(Protocol):
    """A part that hears of every update."""

    def after_update(self, learner: Any, batch: Rollouts) -> None:
        """The learner has trained on `batch`."""


@runtime_checkable
class Measured(Protocol):
    """A dress part with readings of its own."""

    def metrics(self) -> dict[str, float]:
        """Metrics of the step, by name."""


@runtime_checkable
class Grader(Protocol):
    """A judge that can be differentiated: what objectives that back-propagate a reward ask for."""

    name: str
    """In the columns of its readings."""

    @property
    def names(self) -> Sequence[str]:
        """The names of its E criteria."""

    def grade(self, images: Tensor, rollouts: Rollouts, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(verdicts [a, E] with a gradient in `images` [a, ...], higher is better; which hold, bool [a,
        E])."""
