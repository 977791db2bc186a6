"""BroRL: what hundreds of rollouts a prompt do at as many sampled rollouts (arXiv 2510.01180).

E2  groups that carry signal, counted by a plan that keeps mixed groups, against 1 - q^N - (1 - q)^N
E3  a small network on arithmetic modulo 13 whose RL (N = 16) has reached a plateau goes on with N = 16 or
    256 rollouts a prompt: as many sampled rollouts, refused ones included, as many mini-batches a step, each
    width at the learning rate that is best for the questions trained on; `plateau: last third` is what the
    last third of the first RL gained. On questions held back no width gains at any rate: the network is told
    nothing that they share, so that they show what RL forgets, and a rate chosen by them would be 0

The paper's simulation is `oneloop.measure.width.token_simulator`; docs/brorl.md says what it gave.
"""

import copy
from collections.abc import Iterator
from functools import cache, cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.otr import MODULUS, TASKS, all_questions
from oneloop.core import draws
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import Loop
from oneloop.measure.statistics.passk import pass_at_k
from oneloop.measure.width.closed_forms import mixed_group_probability
from oneloop.sample.data.rows import Rows as DataRows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.keep.keep_mixed import KeepMixed
from oneloop.sample.plan.plan import Plan
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

WIDTH, PRETRAINING, WRONG = 32, 600, 0.3
HELD_BACK = 276  # of 676 questions
PLATEAU, BUDGET = 180_000, 60_000  # rollouts sampled before and after the widths part
RATE, RATES, MINIBATCHES = 3e-4, (1e-4, 3e-4, 1e-3, 3e-3), 4
CLOSED = "closed form %"
WIDTHS: dict[str, tuple[int, int]] = {
    # rollouts a prompt, prompts a batch
    "N=16 x 32": (16, 32),
    "N=256 x 8": (256, 8),
}
NARROW, WIDE = "N=16 x 32", "N=256 x 8"


class Network(nn.Module):
    """Three embeddings side by side, two layers: logits [a, 13] of questions int64 [a, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(TASKS + 2 * MODULUS, WIDTH)
        self.layers = nn.Sequential(nn.Linear(3 * WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, MODULUS))

    def forward(self, questions: Tensor) -> Tensor:
        """Logits."""
        places = torch.tensor([0, TASKS, TASKS + MODULUS])
        return cast(Tensor, self.layers(self.words(questions + places).flatten(1)))


def pretrained(seed: int) -> Network:
    """A network that was told answers of which WRONG are wrong, so that it is sure of none."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    questions, answers = all_questions()
    for _ in range(PRETRAINING):
        rows = torch.randint(len(questions), (256,), generator=draw)
        noise = torch.randint(MODULUS, (256,), generator=draw) * (torch.rand(256, generator=draw) < WRONG)
        loss = nn.functional.cross_entropy(model(questions[rows]), (answers[rows] + noise) % MODULUS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


class Answers:
    """One answer token a question: the policy of a plan whose rows are questions."""

    version = 0
    units = {"logprob": "nats", "entropy": "discrete"}
    gives = ()

    def __init__(self, model: Network, questions: Tensor, answers: Tensor):
        self.model, self.questions, self.answers = model, questions, answers
        self.sampled = 0
        self.kept = np.zeros(3)
        """Mixed groups so far, how many were expected, and the variance of that number."""

    @torch.no_grad()
    def right(self, questions: Tensor, answers: Tensor) -> Tensor:
        """Probability of each right answer."""
        law: Tensor = self.model(questions).softmax(-1).double()
        return law.gather(-1, answers[:, None]).squeeze(1)

    @torch.no_grad()
    def greedy(self, questions: Tensor) -> Tensor:
        """The likeliest answer to each."""
        likeliest: Tensor = self.model(questions).argmax(-1)
        return likeliest

    @torch.no_grad()
    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """Answers drawn by inverting the law at a number that is a function of seed and id."""
        here = AnswersHere(self, asked.key)
        key = draws.mix(asked.facts["seed"], "answer", asked.id.numpy())
        uniform = torch.from_numpy(draws.uniforms(key, 0))
        token = (uniform[:, None] >= here.laws.exp().double().cumsum(-1)[here.place]).sum(-1)
        token = token.clamp(max=here.laws.shape[1] - 1)
        count = len(asked)
        actions = Actions(
            {
                "parent": torch.full((count,), -1),
                "token": token,
                "version": torch.full((count,), self.version),
                "logprob": here.laws[here.place, token],
                "share": torch.ones(count),
            }
        )
        reward = (token == self.answers[asked.key]).double()
        finished = Rollouts(
            {**asked.columns, "last": torch.arange(count), "status": ["stop"] * count, "reward": reward},
            actions,
            asked.facts,
        )
        self._count(finished)
        return finished, finished.take(torch.zeros(0, dtype=torch.long))

    def _count(self, finished: Rollouts) -> None:
        self.sampled += len(finished)
        group, place, size = finished.group.unique(return_inverse=True, return_counts=True)
        right = torch.zeros(len(group), dtype=torch.float64).index_add_(0, place, finished.reward)
        keys = torch.zeros_like(group).scatter(0, place, finished.key)
        rate = self.right(self.questions[keys], self.answers[keys]).numpy()
        expected = mixed_group_probability(rate, int(size[0]))
        mixed = float(((right > 0) & (right < size)).sum())
        self.kept += [mixed, expected.sum(), (expected * (1 - expected)).sum()]

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """All at once: a question is forwarded once however many rollouts it has."""
        if wanted.any():
            yield wanted.nonzero().squeeze(1)

    def at(self, rollouts: Rollouts, actions: Tensor) -> "AnswersHere":
        """Those actions under the present weights."""
        return AnswersHere(self, rollouts.key[rollouts.owner[actions]], rollouts.actions.token[actions])

    def updated(self) -> None:
        """Next version."""
        self.version += 1


class AnswersHere:
    """Some answers under the present weights, forwarded question by question."""

    def __init__(self, policy: Answers, keys: Tensor, tokens: Tensor | None = None):
        questions, self.place = keys.unique(return_inverse=True)
        self.laws: Tensor = policy.model(policy.questions[questions]).log_softmax(-1)
        self.tokens = tokens

    @cached_property
    def logprob(self) -> Tensor:
        """[a]."""
        return self.laws[self.place, self.tokens]

    @cached_property
    def entropy(self) -> Tensor:
        """[a]."""
        return -(self.laws.exp() * self.laws).sum(-1)[self.place]


def plan(questions: Tensor, n: int, groups: int, epochs: int | None = None) -> Plan:
    """Keeps mixed groups and asks for others until there are `groups`."""
    rows = [{"prompt": str(question)} for question in questions.tolist()]
    return Plan(
        data=DataRows(rows=rows),
        groups=groups,
        count=Uniform(n=n),
        keep=KeepMixed(),
        max_refills=10_000,
        epochs=epochs,
    )


def reinforce(policy: Answers, n: int, groups: int, rate: float, budget: int, seed: int) -> None:
    """Trains until `budget` more rollouts were sampled: REINFORCE++ advantages, clipping, no KL."""
    asking = plan(policy.questions, n, groups)
    asking.begin(seed, 1)
    options = Learning(learning_rate=rate, minibatches=MINIBATCHES)
    learner = Learner(policy, [PolicyGradient(clip_high=0.27)], options, 1)  # type: ignore
    credit = GroupRelative(scale="whiten_actions", ddof=0)
    end = policy.sampled + budget
    for _ in Loop(asking, policy.sample, None, [credit], learner).run(budget):
        if policy.sampled >= end:
            return


def kept_groups(policy: Answers, n: int, seed: int) -> dict[str, float]:
    """E2: every training question once, through a plan."""
    policy.kept[:] = 0
    asking = plan(policy.questions, n, 8, epochs=1)
    asking.begin(seed, 1)
    groups = 0
    while (asked := asking.ask()) is not None:
        if len(asked):
            groups += len(asked.group.unique())
            asking.tell(*policy.sample(asked))
        asking.batch()
    return shares(policy, groups)


def shares(policy: Answers, groups: int) -> dict[str, float]:
    """What was kept and what should have been, in percent, and the difference in standard errors."""
    mixed, expected, variance = policy.kept
    z = (mixed - expected) / max(variance, 1e-12) ** 0.5
    return {"kept %": float(100 * mixed / groups), CLOSED: float(100 * expected / groups), "z": float(z)}


def outcome(policy: Answers, seen: Tensor, unseen: Tensor, before: Tensor | None) -> dict[str, float]:
    """pass@1 on the questions trained on (`seen`) and held back, pass@8, what fell since `before` [676]."""
    questions, answers = all_questions()
    right, likeliest = policy.right(questions, answers), policy.greedy(questions) == answers
    found = {
        "trained on, pass@1 %": 100 * float(right[seen].mean()),
        "trained on, greedy %": 100 * float(likeliest[seen].double().mean()),
        "held back, pass@1 %": 100 * float(right[unseen].mean()),
        "held back, greedy %": 100 * float(likeliest[unseen].double().mean()),
        "held back, pass@8 %": 100 * float(pass_at_k(right[unseen].clamp(max=1).numpy(), 8).mean()),
    }
    if before is not None:
        found["questions that fell %"] = 100 * float((right < before)[seen].double().mean())
    return found


@cache
def plateau(seed: int) -> tuple[Answers, Tensor, Tensor, Rows]:
    """(the policy at its plateau, questions trained on, questions held back, what it measured on the way)."""
    questions, answers = all_questions()
    order = torch.randperm(len(questions), generator=torch.Generator().manual_seed(seed))
    unseen, seen = order[:HELD_BACK], order[HELD_BACK:]
    policy = Answers(pretrained(seed), questions[seen], answers[seen])
    before = outcome(policy, seen, unseen, None)
    n, groups = WIDTHS[NARROW]
    reinforce(policy, n, groups, RATE, 2 * PLATEAU // 3, seed)
    late = outcome(policy, seen, unseen, None)
    reinforce(policy, n, groups, RATE, PLATEAU // 3, seed + 1)
    reached = outcome(policy, seen, unseen, None)
    gained = {name: reached[name] - late[name] for name in reached}
    return (
        policy,
        seen,
        unseen,
        {"E3 before": before, "E3 plateau": reached, "E3 plateau: last third": gained},
    )


def train(arm: str, rate: float, seed: int) -> Row:
    """E3: `BUDGET` rollouts more from the plateau."""
    start, seen, unseen, _ = plateau(seed)
    n, groups = WIDTHS[arm.removeprefix("E3 ")]
    policy = Answers(copy.deepcopy(start.model), start.questions, start.answers)
    reinforce(policy, n, groups, rate, BUDGET, seed + 2)
    found = outcome(policy, seen, unseen, start.right(*all_questions()))
    return found | shares(policy, policy.sampled // n) | {"work": float(policy.sampled)}


def run(seed: int, advance: Advance) -> Rows:
    """E2 on the policy at the plateau, and how flat that is."""
    policy, *_, measured = plateau(seed)
    advance(f"seed {seed}: plateau")
    kept = {f"E2 N={n}": kept_groups(copy.copy(policy), n, seed) for n in (16, 512)}
    advance(f"seed {seed}: kept groups")
    return kept | dict(measured)


def headline(rows: Rows) -> float:
    """Points of pass@1 that N = 256 is above N = 16, from the same plateau."""
    column = "trained on, pass@1 %"
    return rows[f"E3 {WIDE}"][column] - rows[f"E3 {NARROW}"][column]


CLAIM = Claim(
    paper="arXiv 2510.01180",
    parts=("keep_mixed", "group_relative"),
    recipe="brorl",
    says="after RL with N = 16 stalled, N = 512 goes on rising: maths 61.7 to 63.0, code 52.0 to 54.2",
    claim="from a plateau of N = 16, as many sampled rollouts with N = 256 leave pass@1 on the questions "
    "trained on above that of N = 16 by (points)",
    target=0.0,
    arms=tuple(Arm(f"E3 {name}", RATES) for name in WIDTHS),
    train=train,
    score=lambda row: row["trained on, pass@1 %"],
    work="rollouts sampled after the plateau, refused ones included",
    run=run,
    headline=headline,
    units=2,
)
