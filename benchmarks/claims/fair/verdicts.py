"""In the loop: a policy trained with few verdicts, chosen by the judge `one_sided` or at random.

The policy is a table of logits, one row a prompt, so that accuracy is exact; a rollout is one answer. Judge
(`one_sided` around an exact comparison), credit (`inverse_propensity`) and objective (`policy_gradient`) are
the real ones. Random choice pays, at every step, for just as many rollouts as the judge did at that step, all
equally likely; verdicts are thus equal at every step, not only in the end.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oneloop.core import draws
from oneloop.core.part import part
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.inverse_propensity import InversePropensity
from oneloop.judge.one_sided import OneSided
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import PolicyGradient

PROMPTS, ANSWERS = 64, 24
GROUPS, SIZE = 8, 8
STEPS, RATE = 100, 0.05


@part(reads=("example",), writes=("reward.exact", "error.exact"))
class Exact:
    """1 where the answer is right."""

    name: str = "exact"
    """Names the columns."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Never in error."""
        right = [
            float(text == row["answer"]) for text, row in zip(rollouts.text, rollouts.example, strict=True)
        ]
        score = torch.tensor(right, dtype=torch.float64)
        return rollouts.put({"reward.exact": score, "error.exact": [None] * len(right)})


class Table:
    """logits [prompt, answer]; the right answer is no. 0 to everyone but the policy."""

    def __init__(self, seed: int):
        draw = torch.Generator().manual_seed(seed)
        self.right = torch.randint(ANSWERS, (PROMPTS,), generator=draw)
        logits = torch.randn(PROMPTS, ANSWERS, generator=draw)
        logits[torch.arange(PROMPTS), self.right] += 4 * torch.rand(PROMPTS, generator=draw)
        self.logits = logits.requires_grad_()

    @torch.no_grad()
    def accuracy(self) -> float:
        """Exact chance of the right answer, over all prompts."""
        return float(self.logits.softmax(-1)[torch.arange(PROMPTS), self.right].mean())

    @torch.no_grad()
    def sample(self, step: int, seed: int) -> Rollouts:
        """GROUPS prompts, SIZE answers to each; which prompts and which answers are named draws."""
        first = step * GROUPS
        prompt = (torch.arange(first, first + GROUPS) % PROMPTS).repeat_interleave(SIZE)
        n = len(prompt)
        ids = torch.arange(n) + step * n
        uniform = torch.from_numpy(draws.uniforms(draws.mix(seed, "answers"), ids.numpy()))
        law = self.logits.double().log_softmax(-1)[prompt]
        token = (law.exp().cumsum(-1) < uniform[:, None]).sum(-1).clamp(max=ANSWERS - 1)
        actions = {
            "parent": torch.full((n,), -1),
            "token": token,
            "logprob": law[torch.arange(n), token].float(),
            "share": torch.ones(n),
        }
        columns: dict[str, Any] = {
            "id": ids,
            "group": torch.arange(n) // SIZE + first,
            "last": torch.arange(n),
            "text": [str(answer) for answer in token.tolist()],
            "example": [
                {"prompt": str(p), "answer": str(a)}
                for p, a in zip(prompt.tolist(), self.right[prompt].tolist(), strict=True)
            ],
            "prompt": prompt,
        }
        return Rollouts(columns, Actions(actions), {"seed": seed, "step": step, "progress": step / STEPS})


@dataclass
class Answering:
    """What an objective asks of the table."""

    policy: Table
    rollouts: Rollouts

    @property
    def logprob(self) -> Tensor:
        """[N], of the answers given."""
        law = self.policy.logits.log_softmax(-1)
        return law[self.rollouts["prompt"], self.rollouts.actions.token]


def learn(policy: Table, optimiser: torch.optim.Optimizer, batch: Rollouts) -> None:
    """One update; rollouts without a verdict count in the denominator and in nothing else."""
    batch = InversePropensity(by="batch")(batch)
    known = ~batch.actions.advantage.isnan()
    batch = batch.put_actions(share=known.float())
    loss, _ = PolicyGradient()(Answering(policy, batch), batch, torch.arange(len(batch)))  # type: ignore[arg-type]
    weight = weights(batch, "action", "all")
    optimiser.zero_grad()
    (loss * weight).sum().backward()
    optimiser.step()


def trained(seed: int, judge: OneSided, counts: list[int] | None = None) -> tuple[list[float], list[int]]:
    """(accuracy after each step, verdicts paid at each step) of a policy trained with `judge`.

    With `counts`, so many verdicts a step are chosen at random instead.
    """
    policy = Table(seed)
    optimiser = torch.optim.Adam([policy.logits], lr=RATE)
    judge.begin()
    accuracy, paid = [], []
    for step in range(STEPS):
        batch = policy.sample(step, seed)
        judged = judge(batch) if counts is None else at_random(batch, counts[step])
        learn(policy, optimiser, judged.put(reward=judged[f"reward.{judge.name}"]))
        if counts is None:
            judge.learn(judged)
        accuracy.append(policy.accuracy())
        paid.append(int(judged["paid"].sum()))
    return accuracy, paid


def at_random(batch: Rollouts, count: int) -> Rollouts:
    """Verdicts on `count` rollouts, any of them as likely as any other."""
    uniform = draws.uniforms(draws.mix(batch.facts["seed"], "at random"), batch.id.numpy())
    paid = torch.zeros(len(batch), dtype=torch.bool)
    paid[torch.from_numpy(uniform).argsort()[:count]] = True
    score = Exact()(batch)["reward.exact"].where(paid, torch.tensor(torch.nan, dtype=torch.float64))
    share = torch.full((len(batch),), max(count, 1) / len(batch), dtype=torch.float64)
    return batch.put({"reward.one_sided": score, "propensity": share, "paid": paid})
