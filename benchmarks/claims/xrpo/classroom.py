"""A policy that answers a question with one token, so that hundreds of prompts train in seconds.

    q questions   V answers        logits [q, V] = model(questions)

It goes through the real plan, credit parts, objectives and learner; only the engine is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from oneloop.core import draws
from oneloop.core.protocols import Objective
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.update.averaging import action_weights


class Logits(nn.Module):
    """A table: the logits [q, V] of each question are parameters of their own."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.table = nn.Parameter(logits.clone())

    def forward(self, questions: Tensor) -> Tensor:
        """[q, V] of `questions`, int64 [q]."""
        return self.table[questions]


class Coin(nn.Module):
    """Answer 1 with a probability of each question's own: one logit [q] a question."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.table = nn.Parameter(logits.clone())

    def forward(self, questions: Tensor) -> Tensor:
        """[q, 2] of `questions`, int64 [q]."""
        chosen = self.table[questions]
        return torch.stack([torch.zeros_like(chosen), chosen], -1)


class Answers:
    """The policy's `Here`."""

    def __init__(self, model: nn.Module, rollouts: Rollouts, actions: Tensor):
        rows = rollouts.owner[actions].tolist()
        self.model, self.tokens = model, rollouts.actions.token[actions]
        self.questions = torch.tensor([rollouts.example[row]["question"] for row in rows])

    @cached_property
    def _logprobs(self) -> Tensor:
        logprobs: Tensor = self.model(self.questions).log_softmax(-1)
        return logprobs

    @property
    def logprob(self) -> Tensor:
        """[a]."""
        return self._logprobs.gather(-1, self.tokens[:, None]).squeeze(1)

    @property
    def entropy(self) -> Tensor:
        """[a]."""
        return -(self._logprobs.exp() * self._logprobs).sum(-1)


class Classroom:
    """Samples one answer a rollout; draws depend on (seed, rollout id) alone."""

    def __init__(self, model: nn.Module):
        self.model: Any = model
        self.version = 0
        self.units: Mapping[str, str] = {"logprob": "nats", "entropy": "discrete"}
        self.gives: Sequence[str] = ()

    @torch.no_grad()
    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, none)."""
        questions = torch.tensor([example["question"] for example in asked.example])
        logprobs = self.model(questions).log_softmax(-1)
        draw = draws.uniforms(draws.mix(asked.facts["seed"], asked.id.numpy()), 0)
        below = logprobs.double().exp().cumsum(-1) < torch.from_numpy(draw)[:, None]
        token = below.sum(-1).clamp(max=logprobs.shape[-1] - 1)
        count = len(asked)
        actions = Actions(
            {
                "parent": torch.full((count,), -1),
                "version": torch.full((count,), self.version),
                "token": token,
                "logprob": logprobs.gather(-1, token[:, None]).squeeze(1),
                "share": torch.ones(count),
            }
        )
        columns = {**asked.columns, "last": torch.arange(count), "status": ["stop"] * count}
        finished = Rollouts({**columns, "text": [str(t) for t in token.tolist()]}, actions, asked.facts)
        return finished, finished.take(torch.zeros(0, dtype=torch.long))

    def at(self, rollouts: Rollouts, actions: Tensor) -> Answers:
        """`actions` [a] under the present weights."""
        return Answers(self.model, rollouts, actions)

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Everything at once; nothing where nothing is wanted."""
        if wanted.any():
            yield wanted.nonzero().squeeze(1)

    def updated(self) -> None:
        """The next version."""
        self.version += 1


class GradientDescent:
    """A learner of plain steps, for tables: Adam would move prompts that are not in the batch."""

    def __init__(self, policy: Classroom, objective: Objective, rate: float):
        self.policy, self.objectives, self.rate = policy, [objective], rate

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """One step on the batch, weighed as the learner weighs it."""
        actions = torch.arange(len(rollouts.actions))
        losses, _ = self.objectives[0](self.policy.at(rollouts, actions), rollouts, actions)  # type: ignore[arg-type]
        (losses * action_weights(self.objectives[0], rollouts).to(losses)).sum().backward()
        with torch.no_grad():
            for weight in self.policy.model.parameters():
                weight -= self.rate * weight.grad
                weight.grad = None
        self.policy.updated()
        return rollouts


def graded(finished: Rollouts) -> Rollouts:
    """Reward 1 for an answer that the row's `answer` names, else 0."""
    pairs = zip(finished.text, finished.example, strict=True)
    right = torch.tensor([float(text in accepted(row)) for text, row in pairs], dtype=torch.float64)
    return finished.put(reward=right, correct=right)


def accepted(row: dict[str, Any]) -> Sequence[str]:
    """Right answers of a data row."""
    return (row["answer"],) if isinstance(row["answer"], str) else row["answer"]
