"""What the five stages ask of one another: the borders of the house, one protocol each.

n rollouts   N actions   a actions of one micro-batch   V vocabulary   G groups   E criteria of a judge

All that a protocol names must be there; it is looked for when a recipe is loaded (rooms.py). What may be left
out stands with its value in a class of defaults, and `trait` reads it. Data, Part, Count, Keep, Objective,
PolicyPart and the models are what a recipe names; the others are what those make or are given. Left out:
environments that answer between two turns, of which there are none yet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.memory import Needs
from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts, Table

Mean = Literal["action", "rollout", "group", "constant"]
Over = Literal["kept", "all"]
Where = Literal["kept", "all", "last"]
Sampled = tuple[Rollouts, Rollouts]
"""(finished, unfinished)."""


def trait(instance: Any, defaults: type, name: str) -> Any:
    """The attribute `name` of `instance`, or its value in the class `defaults`."""
    return getattr(instance, name, vars(defaults)[name])


# what a recipe names


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


class Objective(Protocol):
    """One loss per action; the learner owns every denominator.

    Losses are averaged over the actions that select kept. An objective that wants another average says so
    with attributes, any of `mean`, `over`, `where`, `constant_length` and `whole`; see
    `oneloop.update.averaging.Averaging`. One that has no gradient at some actions is `Teaching`.
    """

    def __call__(self, here: "Here", rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [a], readings {name: [a]}) of `actions` (int64 [a], indices into the action table)."""


class ObjectiveDefaults:
    """What an objective may say of itself beside its average; what it leaves out is as here."""

    clip_range: float | None = None
    """How far a ratio may leave 1 before it has no gradient, recorded each step; None: it clips nothing."""
    whole_logits = False
    """Whether it reads `here.logits`, so that those of all its actions are held at once."""


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


@runtime_checkable
class Teaching(Protocol):
    """An objective that has no gradient at some actions; those that no objective learns from are not
    forwarded."""

    def teaches(self, rollouts: Rollouts) -> Tensor:
        """bool [N], the actions at which it has a gradient."""


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


class LanguageModel(Protocol):
    """A causal language model made here instead of loaded by name."""

    def build(self) -> tuple[Any, Any]:
        """(a transformers causal model, its tokenizer)."""


class VisionLanguageModel(Protocol):
    """A vision-language model made here instead of loaded by name."""

    def build(self) -> tuple[Any, Any]:
        """(a transformers model that reads pictures, its processor), both of a family that transformers
        knows. The processor has a chat template that puts the model's picture token where a message has
        {type: image}, and a tokenizer with an end and a padding token. Leaves torch's global random state as
        it was."""


class FlowModel(Protocol):
    """A network that a flow policy trains."""

    def build(self) -> "FlowNetwork":
        """The network on the CPU. Leaves torch's global random state as it was."""


class ImageTokenizerModel(Protocol):
    """A network that turns images into lists of codes and back."""

    def build(self) -> "ImageTokenizerNetwork":
        """The network on the CPU. Leaves torch's global random state as it was."""


@runtime_checkable
class Outlined(Protocol):
    """A `FlowModel` that `build` loads from somewhere: it can also be described without its weights."""

    def outline(self) -> "FlowNetwork":
        """The network with its weights on torch's meta device, where they take no memory."""


class JudgeModel(Protocol):
    """A model that compares two images, made or loaded."""

    def build(self) -> "PairNetwork":
        """The network on the CPU."""


# what those make, or are given


class FlowNetwork(Protocol):
    """Velocities of latents at noise levels; a torch module with the weights that are trained."""

    shape: tuple[int, ...]
    """[C, H, W] of a latent."""
    picture: tuple[int, ...]
    """[C, H, W] of a picture."""
    tokens: int
    """Positions its transformer attends over; 1 without one. What a micro-batch is counted in."""
    units: int
    """Layers times width, for the estimate of memory."""

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """What data rows say to it, [b, ...] each."""

    def forward(self, latent: Tensor, sigma: Tensor, condition: dict[str, Tensor]) -> Tensor:
        """Velocity [b, C, H, W] of `latent` [b, C, H, W] at noise levels `sigma` [b]."""

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures in [0, 1], differentiable."""

    def latent(self, images: Tensor) -> Tensor:
        """The latents of pictures in [0, 1]."""

    def save(self, folder: Path) -> None:
        """Writes the trained weights in a format that other libraries load."""

    def load(self, folder: Path) -> None:
        """What `save` left, to the bit."""


class FlowNetworkDefaults:
    """What a flow network may say of itself; what it leaves out is as here."""

    decoder_maps = 0
    """fp32 maps of a picture's size that decoding holds at its widest; 0: latents are pixels."""


class ImageTokenizerNetwork(Protocol):
    """Pictures as N tokens, each one of K codes of d numbers, and back; a torch module with the weights that
    are trained. b pictures; `lengths`, one number or int64 [b], is how many tokens of each are used."""

    config: Any
    """Its sizes: `picture` [C, H, W], `tokens` N, `codebook_size` K, `code_dims` d; `predicts`, which is
    "pixels"; and of its transformers `layers`, `hidden_size` and `grid`, where 1 + grid^2 + N is how many
    positions they attend over: what a micro-batch is counted in."""
    quantize: Any
    """A module that rounds: vectors [b, N, d] -> `codes` [b, N, d], with a gradient in the vectors, `indices`
    int64 [b, N], and `loss` [b]. Its `revive(used, vectors, order)` moves codes whose `used` [K] is 0 onto
    `vectors` [v, d] in the order int64 [v]."""

    def vectors(self, images: Tensor) -> Tensor:
        """[b, N, d] of `images` [b, C, H, W] in [0, 1], before rounding; differentiable."""

    def encode(self, images: Tensor) -> Tensor:
        """int64 [b, N], the tokens of `images`; no gradient."""

    def render(self, codes: Tensor, lengths: Any = None) -> Tensor:
        """Pictures [b, C, H, W] of `codes` [b, N, d]; differentiable, not cut to [0, 1]."""

    def decode(self, indices: Tensor, lengths: Any = None) -> Tensor:
        """Pictures [b, C, H, W] in [0, 1] of the tokens `indices` [b, N]."""

    def save_pretrained(self, folder: Path) -> None:
        """Writes the weights in a format that other libraries load."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> Any:
        """What `save_pretrained` left, to the bit, on the CPU. Raises ValueError where it cannot be read."""


@runtime_checkable
class Scheduled(Protocol):
    """A flow network with noise levels of its own, taken where the recipe sets no `shift`."""

    def noise_levels(self, steps: int) -> list[float]:
        """[steps + 1] noise levels, from 1 (or the highest it has) down to 0."""


@runtime_checkable
class Contextual(Protocol):
    """A flow network that makes something of what it is told that no noise level changes."""

    def context(self, told: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `forward` takes as its condition, of what `encode` gave, [b, ...] each: called once where
        `forward` is called for many noise levels; differentiable."""


@runtime_checkable
class Timed(Protocol):
    """A flow network that is a diffusion model: its noise levels are those of a number of times."""

    def time_levels(self, share: Tensor, first: int = 0) -> Tensor:
        """[a], the levels of times from `first` on, drawn evenly by `share` [a] in [0, 1)."""

    def descent(self, sigma: Tensor, steps: int) -> Tensor:
        """[steps + 1, a], levels of `steps` calls from each level `sigma` [a], and 0."""


@runtime_checkable
class Contrasting(Protocol):
    """A flow network that looks at references of a writer's hand."""

    def views(self, condition: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """({branch: [a, 2, p] embeddings, of length 1, of two references of a writer}, writers [a])."""


@runtime_checkable
class Adapted(Protocol):
    """A flow network that trains adapters: without them it is its own reference."""

    def without_adapters(self) -> AbstractContextManager[None]:
        """Inside this context the adapters are off."""


class PairNetwork(Protocol):
    """Answers questions about pairs of images; a torch module."""

    def answers(self, first: Tensor, second: Tensor, questions: Sequence[Any]) -> Tensor:
        """[b, 2] log-probabilities of "the first" and "the second", with a gradient in the images
        [b, C, H, W]."""


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


class DrawDefaults:
    """What a draw part may say of itself; what it leaves out is as here."""

    learns: tuple[str, ...] = ()
    """Columns of judged rows from which it learns."""


class PromptRoom(NamedTuple):
    """A prompt in the tokens of a policy."""

    tokens: int
    """Tokens of the prompt."""
    left: int
    """Tokens the model can still take behind it; below 1: the prompt is too long."""
    limit: int
    """Tokens the policy samples at most, whatever is left."""


@runtime_checkable
class Measuring(Protocol):
    """A dress part that lengthens prompts, and so must know how the policy measures them."""

    def meet(self, policy: "Policy") -> None:
        """The policy that the phase trains; called after `begin`, before the first ask."""


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


@runtime_checkable
class Affording(Protocol):
    """The outline of a policy with subnets."""

    def afford(self, flops: int) -> None:
        """Raises ValueError, listing the subnets, for a budget of FLOPs a token that buys none."""


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
