"""A linear model in place of a language model, batches it has sampled, and a learner that trains it."""

from typing import Any

import torch
from torch import nn

from oneloop.core.rollouts import Rollouts
from oneloop.update.learner import Learner, Learning
from tests.support.toy import chains

VOCABULARY, WIDTH = 5, 7


class SmallHere:
    """Logits are a linear function of fixed features of (rollout id, depth)."""

    def __init__(self, policy: "SmallPolicy", rollouts: Rollouts, actions: torch.Tensor):
        self.policy, self.rollouts, self.actions = policy, rollouts, actions
        self.logits = policy.logits(rollouts, actions)
        self.tokens = rollouts.actions.token[actions][:, None]

    @property
    def logprob(self):
        return self.logits.log_softmax(-1).gather(1, self.tokens).squeeze(1)

    @property
    def entropy(self):
        logprobs = self.logits.log_softmax(-1)
        return -(logprobs.exp() * logprobs).sum(-1)

    @property
    def reference(self):
        with torch.no_grad():
            logits = self.policy.logits(self.rollouts, self.actions, self.policy.kept)
            return logits.log_softmax(-1).gather(1, self.tokens).squeeze(1)


class SmallPolicy:
    """A linear model [WIDTH -> VOCABULARY] with a bias, in place of a language model."""

    units = {"logprob": "nats", "entropy": "discrete"}

    def __init__(self, dtype: torch.dtype = torch.float32):
        draw = torch.Generator().manual_seed(3)
        self.model = nn.Linear(WIDTH, VOCABULARY)
        self.kept = nn.Linear(WIDTH, VOCABULARY)
        with torch.no_grad():
            for weight in [*self.model.parameters(), *self.kept.parameters()]:
                weight.copy_(torch.randn(weight.shape, generator=draw))
        self.model.to(dtype)
        self.version, self.pieces, self.fail = 0, 0, []

    def logits(self, rollouts, actions, model=None):
        owner = rollouts.id[rollouts.owner[actions]].double()
        place = owner * 31 + rollouts.depth[actions]
        features = torch.sin(place[:, None] * torch.arange(1, WIDTH + 1)).float()
        model = model or self.model
        return model(features.to(model.weight.dtype)).float()

    def sampled(self, rollouts: Rollouts) -> Rollouts:
        with torch.no_grad():
            everything = torch.arange(len(rollouts.actions))
            here = self.at(rollouts, everything)
            return rollouts.put_actions(logprob=here.logprob, reference=here.reference)

    def batches(self, rollouts, wanted, budget):
        """Whole rollouts, in order, as many as fit."""
        piece: list[int] = []
        for row in rollouts.owner[wanted].unique().tolist():
            if piece and int(rollouts.length[[*piece, row]].sum()) > budget:
                yield self._piece(rollouts, wanted, piece)
                piece = []
            piece.append(row)
        if piece:
            yield self._piece(rollouts, wanted, piece)

    def _piece(self, rollouts, wanted, rows):
        return (wanted & torch.isin(rollouts.owner, torch.tensor(rows))).nonzero().squeeze(1)

    def at(self, rollouts, actions):
        self.pieces += 1
        if self.fail and self.pieces == self.fail[0]:
            self.fail.pop(0)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return SmallHere(self, rollouts, actions)

    @torch.no_grad()
    def annotate(self, rollouts, columns):
        kept = (rollouts.actions.share > 0).nonzero().squeeze(1)
        here, written = self.at(rollouts, kept), {}
        for name in columns:
            written[name] = torch.full((len(rollouts.actions),), torch.nan)
            written[name][kept] = getattr(here, {"proximal": "logprob"}.get(name, name))
        return rollouts.put_actions(written)

    def updated(self) -> None:
        self.version += 1


def batch(policy: SmallPolicy, seed: int = 0) -> Rollouts:
    made = policy.sampled(chains([3, 1, 4, 2, 5, 2, 0, 6], seed=seed, group_size=2))
    advantage = made.spread(torch.randn(len(made), generator=torch.Generator().manual_seed(seed)))
    share = (torch.arange(len(made.actions)) % 5 != 2).float()
    return made.put_actions(advantage=advantage, share=share)


def made(policy: SmallPolicy, objectives: list[Any], steps: int = 10, **options: Any) -> Learner:
    return Learner(policy, objectives, Learning(**{"learning_rate": 0.05, **options}), steps)


def weights_of(learner: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten().double() for weight in learner.parameters])
