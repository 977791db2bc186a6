"""What the five stages ask of one another: the borders of the house, one protocol each.

n rollouts   N actions   a actions of one micro-batch   V vocabulary
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts

Mean = Literal["action", "rollout", "group", "constant"]
Over = Literal["kept", "all"]
Where = Literal["kept", "all", "last"]


class Data(Protocol):
    """Rows by number. A row is a dict with `prompt` (text, or a list of chat messages) and free columns."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row, the same for the same key always."""


class Part(Protocol):
    """A judge, credit, select or dress part: reads columns, returns rollouts with more columns."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with the columns this part writes."""


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


class Here(Protocol):
    """Some actions under the present weights; each answer is computed when first asked, by one forward."""

    @property
    def logprob(self) -> Tensor:
        """[a], differentiable, under the law the actions were sampled from."""

    @property
    def entropy(self) -> Tensor:
        """[a], differentiable."""

    @property
    def logits(self) -> Tensor:
        """[a, V], untempered, differentiable."""

    @property
    def output(self) -> Tensor:
        """[a, ...], the differentiable sample itself (flow policies)."""

    def rendered(self, calls: int) -> Tensor:
        """[a, ...], the sample that ends after each action, differentiable through its last `calls` network
        calls (flow policies)."""

    @property
    def reference(self) -> Tensor:
        """[a], log-probability under the policy's reference, no gradient."""


class Grader(Protocol):
    """A judge that can be differentiated: what objectives that back-propagate a reward ask for."""

    name: str
    """In the columns of its readings."""

    @property
    def names(self) -> Sequence[str]:
        """Its E criteria."""

    def grade(self, images: Tensor, rollouts: Rollouts, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(verdicts [a, E] with a gradient in `images` [a, ...], higher is better; which hold, bool [a,
        E])."""


class Objective(Protocol):
    """One loss per action; the learner owns every denominator.

    Losses are averaged over the actions that select kept. An objective that wants another average says so
    with attributes, any of `mean`, `over`, `where`, `constant_length` and `whole`; see
    `oneloop.update.averaging.Averaging`. One that has no gradient at some actions may say where it has one,
    by a method `teaches(rollouts) -> bool [N]`: actions that no objective learns from are not forwarded.
    """

    def __call__(self, here: Here, rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], readings {name: [a]}) of `actions` (int64 [a], indices into the action table)."""


class Policy(Protocol):
    """The thing being trained."""

    version: int
    """Of the weights; one more after each batch."""
    model: Any
    """The torch module whose parameters are trained."""
    meter: Meter
    """Counts every evaluation of it."""

    @property
    def units(self) -> Mapping[str, str]:
        """`logprob`: nats or nats_per_dim; `entropy`: discrete or differential."""

    @property
    def gives(self) -> Sequence[str]:
        """Columns that `annotate` can write."""

    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, unfinished); each row is continued from the actions it has."""

    def annotate(self, rollouts: Rollouts, columns: Sequence[str]) -> Rollouts:
        """Writes `entropy`, `proximal` or `reference` for the actions with share > 0 (NaN elsewhere)."""

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Every wanted action (bool [N]) in exactly one int64 piece; about `budget` forwarded in each."""

    def at(self, rollouts: Rollouts, actions: Tensor) -> Here:
        """`actions` [a] under the present weights."""

    def updated(self) -> None:
        """The learner has changed the weights: the next version."""
