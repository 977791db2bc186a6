"""Active partial rollouts against synchronous ones, each with the number of slots that suits it (APRIL,
arXiv 2509.18521).

A small Llama counts down from lognormal numbers: its answers have a long tail. After one warm start every arm
trains as many updates, on as many rollouts, with the same slot engine:

    synchronous       a batch is asked and waited for
    APRIL             twice the groups are in flight; the rest is continued under the next weights, its older
                      tokens corrected by truncated importance sampling
    APRIL, stored     the same without the correction: ratios are taken against the law that sampled
    APRIL, masked     the same, learning from the newest weights' tokens alone
    thrown away       the same groups in flight, the rest started again (oversample and drop)

What is tuned is the number of slots, at most as many as a batch has rollouts. Counted are tokens that are
learned from over the processor seconds (one thread) of whole steps: sampling, prefills of resumed prefixes,
forwards for corrections, the update. What a buffer holds in the end counts as nothing. Seconds differ between
machines and minutes, so each arm takes turns, step by step, with the synchronous one at 32 slots, and is
given in terms of it. All arms have one learning rate: accuracy is a check, not the claim.
"""

import time
from collections.abc import Iterator
from functools import cache
from typing import cast

import torch

from benchmarks.claims.claim import Advance, Arm, Claim, Fraction, Row, Rows
from oneloop.core.protocols import Objective, Part, Policy
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import Loop
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.counting import Counting
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.leftovers import Leftovers
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.select.stale import Stale, age
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.supervised import Supervised

GROUPS, SAMPLES, IN_FLIGHT = 8, 4, 16
SLOTS = GROUPS * SAMPLES
WARM_START, UPDATES, HELD_OUT = 75, 40, 96
LONGEST = 180  # characters an answer may have: 169 count down from the largest number
LAGS = 5


def policy(slots: int = SLOTS) -> LanguagePolicy:
    """A Llama of two blocks of width 64."""
    model = SmallLlama(hidden_size=64, layers=2, alphabet="0123456789: ", max_positions=256)
    return Language(model=model, max_new_tokens=LONGEST, slots=slots, device="cpu").open()


def exact(finished: Rollouts) -> Rollouts:
    """The judge: 1 for the right answer, character by character."""
    right = [text == row["answer"] for text, row in zip(finished.text, finished.example, strict=True)]
    return finished.put(reward=torch.tensor(right, dtype=torch.float64))


class Meter:
    """The policy's sampler, with what it took: processor seconds, engine steps."""

    def __init__(self, made: LanguagePolicy):
        self.policy, self.seconds, self.steps = made, 0.0, 0
        made.progress = self._step

    def _step(self, tokens: int, finished: int) -> None:
        self.steps += 1

    def __call__(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """As `policy.sample`."""
        start = time.process_time()
        sampled = self.policy.sample(asked)
        self.seconds += time.process_time() - start
        return sampled


class Trial:
    """An arm that trains step by step, and counts what its batches held."""

    def __init__(self, name: str, slots: int, seed: int, warm: LanguagePolicy):
        self.policy = copy_of(warm, slots)
        self.meter, self.seconds = Meter(self.policy), 0.0
        self.rollouts = self.discarded = self.learned = 0
        self.ages = torch.zeros(LAGS + 1, dtype=torch.long)
        in_flight, leftovers, select, objective = ARMS[name]
        self.plan = Plan(
            data=Counting(seed=2 * seed + 1),
            count=Uniform(n=SAMPLES),
            groups=GROUPS,
            in_flight=in_flight,
            leftovers=leftovers,
        )
        self.plan.begin(seed, UPDATES)
        options = Learning(learning_rate=3e-4, warmup=5, tokens_per_micro_batch=4096)
        update = learner(self.policy, objective, options, UPDATES)
        parts = [GroupRelative(), *select]
        self.batches: Iterator[Rollouts] = Loop(self.plan, self.meter, exact, parts, update).run(UPDATES)

    def step(self) -> None:
        """One batch and its update."""
        start = time.process_time()
        batch = next(self.batches)
        self.seconds += time.process_time() - start
        self.rollouts += len(batch)
        self.learned += int((batch.actions.share > 0).sum())
        self.ages += (
            age(batch.actions.version, batch.facts.get("version"))
            .clamp(max=LAGS)
            .bincount(minlength=LAGS + 1)
        )
        self.discarded += self.plan.piles.discarded

    @property
    def tokens(self) -> int:
        """Tokens of trained rollouts."""
        return int(self.ages.sum())

    def row(self, other: "Trial", seed: int) -> dict[str, float]:
        """What the arm gave for what it took, in terms of an `other` where both took seconds."""
        mine, theirs = self.meter, other.meter
        share = (self.ages / self.tokens).tolist()
        return {
            "throughput": (self.learned / self.seconds) / (other.learned / other.seconds),
            "throughput of sampling": (self.learned / mine.seconds) / (other.learned / theirs.seconds),
            "tokens/step": self.tokens / mine.steps,
            "length": self.tokens / self.rollouts,
            "accuracy": accuracy(self.policy, seed),
            "carried over": 1 - share[0],
            "two updates old or more": sum(share[2:]),
            "held": self.plan.piles.counts()["held/tokens"] / self.tokens,
            "discarded": self.discarded / self.tokens,
            "work": float(self.rollouts),
        }


def learner(made: LanguagePolicy, objective: Objective, options: Learning, steps: int) -> Learner:
    """Trains `made` on one objective."""
    return Learner(cast(Policy, made), [objective], options, steps)


@cache
def warm_start(seed: int) -> LanguagePolicy:
    """A policy that is right about every other time, by demonstrations."""
    made = policy()
    plan = Plan(data=Counting(seed=2 * seed), groups=32, count=Uniform(n=1))
    plan.begin(seed, WARM_START)
    options = Learning(learning_rate=4e-3, warmup=10, schedule="cosine", tokens_per_micro_batch=2048)
    taught = learner(made, Supervised(), options, WARM_START)
    for _ in Loop(plan, made.demonstrate, None, [], taught).run(WARM_START):
        pass
    return made


def copy_of(warm: LanguagePolicy, slots: int) -> LanguagePolicy:
    """Another policy with the same weights."""
    made = policy(slots)
    made.model.load_state_dict(warm.model.state_dict())
    made.engine.refresh()
    return made


def accuracy(made: LanguagePolicy, seed: int) -> float:
    """Share of right answers when sampled, on prompts drawn afresh."""
    made.progress = None
    plan = Plan(data=Counting(seed=10**6 + seed), groups=HELD_OUT, count=Uniform(n=SAMPLES))
    plan.begin(10**6 + seed, 1)
    asked = plan.ask()
    assert asked is not None
    return float(exact(made.sample(asked)[0]).reward.mean())


CORRECTED, PLAIN = PolicyGradient(importance_cap=2.0), PolicyGradient()
RESUME = Leftovers()
ARMS: dict[str, tuple[int | None, Leftovers, tuple[Part, ...], PolicyGradient]] = {
    "synchronous": (None, RESUME, (), PLAIN),
    "APRIL": (IN_FLIGHT, RESUME, (), CORRECTED),
    "APRIL, stored": (IN_FLIGHT, RESUME, (), PLAIN),
    "APRIL, masked": (IN_FLIGHT, RESUME, (Stale(),), PLAIN),
    "thrown away": (IN_FLIGHT, Leftovers(then="restart"), (), PLAIN),
}
"""(groups in flight, what becomes of what is unfinished, what is left out, objective) of each arm."""


def train(name: str, slots: float, seed: int) -> Row:
    """The columns of an arm."""
    warm = warm_start(seed)
    mine, other = Trial(name, int(slots), seed, warm), Trial("synchronous", SLOTS, seed, warm)
    for _ in range(UPDATES):
        other.step()
        mine.step()
    return mine.row(other, seed)


def run(seed: int, advance: Advance) -> Rows:
    """What the warm start can do."""
    found = accuracy(warm_start(seed), seed)
    advance(f"seed {seed}: warm start")
    return {"before": {"accuracy": found}}


def headline(rows: Rows) -> Fraction:
    """Tokens learned from per second of whole steps: those of APRIL, and of the synchronous arm."""
    return rows["APRIL"]["throughput"], rows["synchronous"]["throughput"]


CLAIM = Claim(
    paper="arXiv 2509.18521",
    parts=("leftovers", "stale"),
    recipe="april",
    says="rollout throughput +22.5 % on average, at most +44 %, accuracy +2.1 points",
    claim="tokens learned from per processor second of whole steps are 1.25 times the synchronous",
    target=1.25,
    arms=tuple(Arm(name, (4, 8, 16, 32), bounds=(1, SLOTS)) for name in ARMS),
    train=train,
    tunes="slots",
    score=lambda row: row["throughput"],
    run=run,
    headline=headline,
    work="rollouts trained",
    units=1,
)
