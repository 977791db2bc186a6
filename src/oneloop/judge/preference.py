"""Is the image better than the reference's, for its task and by each of its criteria? The probability of Yes.

    p_e = P(yes | image, reference's image, query(task, e, prompt))      reward = mean over the criteria

The judge of OneReward (arXiv 2508.21066): one model for all tasks and criteria, told by the words of the
query (pairwise/questions.py), the image always first. `grade` is p with a gradient in the image,
for objective/reward_backprop.py; called as a judge it is a plain reward for any other method (with groups: a
pairwise win-rate as in Pref-GRPO). `vocab` is the probability of the word among all words, as trained; `pair`
that of Yes against No alone, never lower. In half precision the model still answers in fp32 log-probs.

A `held_out` judge only looks on: what it says is what the doctor compares a learned judge with. `hard` counts
wins (p above 1/2) instead of probabilities. Left out: training the judge inside the loop
(pairwise/preferences.py has its loss and its pairs).
"""

import dataclasses
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.memory import device_of
from oneloop.core.part import Of, part
from oneloop.core.protocols import PairNetwork
from oneloop.core.rollouts import Rollouts
from oneloop.core.rooms import lacking
from oneloop.core.verdicts import JudgeError, Verdict, columns
from oneloop.judge.pairwise.preferences import antisymmetric, position_bias
from oneloop.judge.pairwise.questions import TASKS, Criterion, Question, criteria_of, render_query, task_of

DIGITS = 6
"""Decimals of a probability that are kept as a verdict."""
FEW = 0.5
"""Yes and No together below this share of the vocabulary: the judge answers something else."""


def _writes(judge: Any) -> tuple[str, ...]:
    each = tuple(judge.column(name) for name in judge.names)
    return (f"reward.{judge.name}", f"error.{judge.name}", *each)


@part(
    reads=("output", "reference_output", "example"),
    writes=_writes,
    paper="arXiv 2508.21066",
)
class Preference:
    """Mean yes-probability of the task's criteria; `yes.<name>.<criterion>` of each, NaN where not asked."""

    model: Annotated[Any, Of("judge_model")]
    """Model that compares: {yes_no_vlm: {name: ...}}, or a part of your own with `build().answers`."""
    tasks: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: dict(TASKS))
    """Criteria of each task; the task of a row is its column `task`."""
    questions: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words of criteria of your own, or other words for known ones; {prompt} in them is the row's prompt."""
    normalize: Literal["vocab", "pair"] = "vocab"
    """Whether the probability of yes is taken among all words, or among yes and no alone."""
    both_orders: bool = False
    """Whether each pair is also shown the other way round, and its favour for a place averaged away."""
    hard: bool = False
    """Whether wins are counted instead of probabilities; has no gradient."""
    held_out: bool = False
    """Whether it only watches over the judge that is learned from (columns `won.` in place of `yes.`)."""
    pairs_per_call: Annotated[int, Field(ge=1)] = 64
    """Pairs the model sees at a time."""
    device: str = "auto"
    """Device of the model, such as cuda:0; auto: a GPU when there is one."""
    name: Annotated[str, Field(min_length=1, pattern=r"^[^.]*$")] = "preference"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""

    def __post_init__(self) -> None:
        criteria_of(self.tasks, self.questions)

    @cached_property
    def criteria(self) -> dict[str, Criterion]:
        """The criteria by name, in the order in which tasks name them."""
        return criteria_of(self.tasks, self.questions)

    @property
    def names(self) -> tuple[str, ...]:
        """Criteria that any task has."""
        return tuple(criteria_of(self.tasks, self.questions))

    @property
    def no_gradient(self) -> str:
        """Why it cannot be differentiated; "" when it can."""
        return "hard: true counts wins, and a count has no gradient" if self.hard else ""

    def column(self, criterion: str) -> str:
        """Name of the column for one criterion."""
        return f"{'won' if self.held_out else 'yes'}.{self.name}.{criterion}"

    @cached_property
    def network(self) -> Any:
        """What `model` builds, frozen, on `device`."""
        built = self.model.build()
        if lacking(built, PairNetwork):
            raise JudgeError(
                f"judge '{self.name}': model: {type(self.model).__name__} compares no images; take "
                "yes_no_vlm, or "
                f"a part of your own whose build() has `answers(first, second, questions)`"
            )
        return built.eval().requires_grad_(False).to(self._place)

    @property
    def _place(self) -> torch.device:
        return torch.device(device_of(self.device))

    # as a judge

    @torch.no_grad()
    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises JudgeError for rows of unknown tasks, and where a question needs a prompt that is
        missing."""
        finite = rollouts.output.flatten(1).isfinite().all(1) & rollouts["reference_output"].flatten(
            1
        ).isfinite().all(1)
        rows = finite.nonzero().squeeze(1)
        said = torch.full((len(rollouts), len(self.names)), torch.nan, dtype=torch.float64)
        value, asked = self.grade(rollouts.output[rows], rollouts, rows)
        # the last bits of an answer depend on what else is answered in the same call
        said[rows] = torch.where(asked, value.double().round(decimals=DIGITS), torch.nan).cpu()
        verdicts = [
            Verdict(score) if good else Verdict(error="the image, or the reference's, is not finite")
            for score, good in zip(said.nanmean(1).tolist(), finite.tolist(), strict=True)
        ]
        each = {self.column(name): said[:, place].clone() for place, name in enumerate(self.names)}
        return rollouts.put({**columns(self.name, verdicts), **each})

    # as a differentiable reward

    def grade(self, images: Tensor, rollouts: Rollouts, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(p [a, E] with a gradient in `images` [a, C, H, W], which of them were asked, bool [a, E]).

        `images` are what `rows` [a] of the rollouts became; p is 0 where a task has not that criterion.
        """
        place, column, questions = self._asked(rollouts, rows)
        asked = torch.zeros(len(rows), len(self.names), dtype=torch.bool)
        asked[place, column] = True
        rivals = rollouts["reference_output"][rows].to(images.dtype)
        pieces = [
            torch.arange(len(place))[i : i + self.pairs_per_call]
            for i in range(0, len(place), self.pairs_per_call)
        ]
        said = [
            self._probability(
                images[place[i].to(images.device)], rivals[place[i]], [questions[j] for j in i.tolist()]
            ).to(images.device)
            for i in pieces
        ]
        value = images.new_zeros(len(rows), len(self.names))
        if said:
            value = value.index_put((place.to(images.device), column.to(images.device)), torch.cat(said))
        return value, asked.to(images.device)

    def _asked(self, rollouts: Rollouts, rows: Tensor) -> tuple[Tensor, Tensor, list[Question]]:
        """(place among rows [q], number of the criterion [q], what is asked): every criterion of every
        row."""
        place, column, questions = list[int](), list[int](), list[Question]()
        number = {name: i for i, name in enumerate(self.names)}
        for at, row in enumerate(rows.tolist()):
            example = rollouts.example[row]
            try:
                task = task_of(example, self.tasks)
                for name in self.tasks[task]:
                    text = render_query(task, self.criteria[name], _text(rollouts.context[row][0][1]))
                    questions.append(Question(task, name, text, example))
                    place.append(at)
                    column.append(number[name])
            except ValueError as error:
                raise JudgeError(f"judge '{self.name}', data row {int(rollouts.key[row])}: {error}") from None
        return torch.tensor(place, dtype=torch.long), torch.tensor(column, dtype=torch.long), questions

    def _probability(self, first: Tensor, second: Tensor, questions: Sequence[Question]) -> Tensor:
        """[b], of yes: the first is better."""
        forward = self._one_order(first, second, questions)
        if self.both_orders:
            forward = antisymmetric(forward, self._one_order(second, first, questions))
        if self.hard:
            return torch.where(forward == 0.5, forward, (forward > 0.5).to(forward))
        return forward

    def _one_order(self, first: Tensor, second: Tensor, questions: Sequence[Question]) -> Tensor:
        first, second = first.to(self._place), second.to(self._place)
        yes, no = self.network.answers(first, second, questions).float().unbind(1)
        mass = float((yes.exp() + no.exp()).mean().detach())
        if mass < FEW and self.normalize == "vocab":
            warnings.warn(
                f"judge '{self.name}': Yes and No are {mass:.3f} of what the model would answer; "
                "probabilities are "
                f"that small. Train it on such pairs, or set normalize: pair",
                stacklevel=2,
            )
        probability: Tensor = yes.exp() if self.normalize == "vocab" else (yes - no).sigmoid()
        return probability

    @torch.no_grad()
    def bias(self, rollouts: Rollouts) -> float:
        """How much the model favours the first place, over all pairs of `rollouts`: 0 is none, 1 is all."""
        rows = torch.arange(len(rollouts))
        place, _, questions = self._asked(rollouts, rows)
        first, second = rollouts.output[place], rollouts["reference_output"][place]
        return float(
            position_bias(
                self._one_order(first, second, questions),
                self._one_order(second, first, questions),
            )
        )


def _text(prompt: Any) -> str | None:
    return prompt if isinstance(prompt, str) else None
