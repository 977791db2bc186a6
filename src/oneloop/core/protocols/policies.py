"""The thing being trained: what a recipe says of it, and what it is before and after it is loaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from oneloop.core.memory import Needs
from oneloop.core.meter import Meter
from oneloop.core.protocols.parts import Data
from oneloop.core.protocols.samplers import Sampled
from oneloop.core.rollouts import Rollouts


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a phase, or an evaluation, asks of the policy at a time: known before anything is sampled."""

    name: str
    """Of the phase; "evaluate" for the evaluation."""
    data: Data
    """The rows that prompts come from."""
    rollouts: int
    """At a time."""
    sampled: bool = True
    """Whether the policy samples them; else they are the data's demonstrations."""
    forks: tuple[tuple[tuple[int, ...], int], ...] = ()
    """(steps, branches at each) of trees that rollouts are the leaves of."""
    micro_batch: Callable[[torch.device, int], int] | None = None
    """Tokens forwarded at a time when learning, of a device and the model's parameters; None: nothing is
    learned."""
    reference: bool = False
    """Whether log-probs under a reference are read."""
    whole_logits: bool = False
    """Whether logits of all actions of a micro-batch are held at once."""


class PolicyDefaults:
    """What a policy part may say of itself; what it leaves out is as here."""

    temperature = 1.0
    """Sampling temperature; 0 is greedy, so that the rollouts of a group are equal."""
    steps: int | None = None
    """Network calls of every rollout, the last of which is no action; None: rollouts differ in length."""
    finishes = False
    """Whether sampling finishes every rollout that it begins."""
    elastic: Any = None
    """What it says of its subnets; None: it has none, so that no `flops` can be drawn."""


class PolicyPart(Protocol):
    """What a recipe says of a policy; `open` loads it."""

    units: ClassVar[Mapping[str, str]]
    """`logprob`: nats or nats_per_dim; `entropy`: discrete or differential."""
    gives: ClassVar[Sequence[str]]
    """Action columns that `annotate` can write: of entropy, proximal, reference."""

    def outline(self) -> "PolicyOutline":
        """The policy without weights. Raises ValueError for what cannot work: no such model or device, a
        model of a kind that is not supported."""

    def open(self, weights: str | None = None) -> "Policy":
        """The policy on its device, with its weights or those at `weights`: a folder that `Policy.save` left,
        or a model's name.

        Raises ValueError when they cannot be loaded.
        """


class PromptRoom(NamedTuple):
    """A prompt in the tokens of a policy."""

    tokens: int
    """Tokens of the prompt."""
    left: int
    """Tokens the model can still take behind it; below 1: the prompt is too long."""
    limit: int
    """Tokens the policy samples at most, whatever is left."""


class PolicyOutline(Protocol):
    """A policy before its weights are loaded."""

    def notes(self, demands: Sequence[Demand]) -> list[str]:
        """Sentences about what a run should know of its data before it begins."""

    def check_row(self, row: Mapping[str, Any], where: str, demonstrated: bool) -> None:
        """Raises ValueError, naming `where`, for a row that the policy cannot sample from, or, when
        `demonstrated`, whose demonstration it cannot learn from."""

    def memory(self, demands: Sequence[Demand]) -> Needs:
        """What it takes to train on `demands`, estimated."""


@runtime_checkable
class RowChecking(Protocol):
    """A policy that can say, before a run, whether it can start from a data row."""

    def check_row(self, row: dict[str, Any], where: str, demonstrated: bool) -> None:
        """Raises ValueError, naming `where`, for a row that it cannot sample from, or, when `demonstrated`,
        whose demonstration it cannot learn from."""


@runtime_checkable
class Affording(Protocol):
    """The outline of a policy with subnets."""

    def afford(self, flops: int) -> None:
        """Raises ValueError, listing the subnets, for a budget of FLOPs a token that buys none."""


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


class Policy(Protocol):
    """The thing being trained: everything that the loop, the learner and a run call."""

    version: int
    """Version of the weights; one more after each batch."""
    model: Any
    """The torch module whose parameters are trained."""
    meter: Meter
    """Counts every evaluation of it."""
    progress: Callable[[int, int], None] | None
    """Called while sampling with (actions so far, rollouts finished so far); the run sets it."""

    @property
    def units(self) -> Mapping[str, str]:
        """The units of `PolicyPart`."""

    @property
    def gives(self) -> Sequence[str]:
        """The units of `PolicyPart`."""

    # sampling

    def sample(self, asked: Rollouts) -> Sampled:
        """(finished, unfinished); each row is continued from the actions it has."""

    def demonstrate(self, asked: Rollouts) -> Sampled:
        """(finished, none): what the data rows demonstrate, as if it had been sampled, with version -1."""

    def prompt_room(self, prompt: Any, example: Mapping[str, Any]) -> "PromptRoom | None":
        """How long `prompt` (with its data row `example`) is for this policy, and what may follow it.

        None for a policy that reads no prompts of tokens. Raises ValueError for what is no prompt.
        """

    def greedy(self) -> AbstractContextManager[None]:
        """Within it, `sample` takes the likeliest action everywhere."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, for the record; empty for a policy without tokens."""

    # learning

    def annotate(self, rollouts: Rollouts, columns: Sequence[str]) -> Rollouts:
        """Writes `entropy`, `proximal` or `reference` for the actions with share > 0 (NaN elsewhere)."""

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Every wanted action (bool [N]) in exactly one int64 piece; about `budget` forwarded in each."""

    def at(self, rollouts: Rollouts, actions: Tensor) -> Here:
        """`actions` [a] under the present weights."""

    def keep_reference(self) -> None:
        """From now on the reference means the present weights."""

    def updated(self) -> None:
        """The learner has changed the weights: the next version."""

    # checkpoints

    def save(self, folder: Path) -> None:
        """The weights, as a folder that other libraries load."""

    def state_dict(self) -> dict[str, Any]:
        """What a folder of weights does not hold: version, reference, ..."""

    def restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Continues, to the bit, from what `save` left in `folder` and `state_dict` gave."""


@runtime_checkable
class Measuring(Protocol):
    """A dress part that lengthens prompts, and so must know how the policy measures them."""

    def meet(self, policy: "Policy") -> None:
        """The policy that the phase trains; called after `begin`, before the first ask."""
