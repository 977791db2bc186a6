"""CAPO's claim on chains of sums: knowing which step is wrong beats knowing how many are.

    E1   solve "3+4" eight times over, one action a step; right at first with chance .5 a step
         steps of training until exact accuracy is .5, each arm at its best learning rate. GRPO sees the
         outcome alone, or the same critic as one number a solution: the outcome less the share of wrong steps
    E2   six steps and one more action, "skip", which no critic calls wrong: how much the penalty may weigh

Work in E1 is sampled solutions until the target; critics are called once a solution and critique.

The policy is a table of logits, one row for each (value, operand), so that accuracy is computed and not
sampled. In E1 everything else is real: solutions are written out as text, `step_critic` splits them, asks a
function in a process of its own and votes, `verifier`'s rule gives the outcome, `token_level` the credit,
`policy_gradient` the loss. GRPO stops at LIMIT steps and counts as LIMIT: its ratio is then a lower bound.
Left out: a language model as policy, a language model as critic.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.claims.claim import Advance, Arm, Claim, Fraction, Row, Rows
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.token_level import TokenLevel
from oneloop.judge.step_critic import StepCritic
from oneloop.sample.data.sum_chain import BREAK, MODULUS
from oneloop.sample.policies.tokens.chains import chain_parents
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import PolicyGradient

PROMPTS, SIZE = 16, 16
LENGTH, LIMIT, TARGET = 8, 200, 0.5
RATES = (0.1, 0.3, 1.0, 3.0)
HACKED_LENGTH, HACKED_STEPS, HACKED_RATE = 6, 200, 0.05
PENALTIES = (0.0, 0.1, 1.0, 2.0, 5.0, 20.0)
SKIP = MODULUS
Mark = Callable[[Rollouts], Rollouts]


@cache
def critics() -> dict[str, StepCritic]:
    """E1: an exact critic, and one that sees .8 of the wrong steps and calls .2 of the right ones wrong."""
    noisy = "oneloop.sample.data.sum_chain.noisy_wrong_steps"
    return {
        "exact critic": StepCritic(path="oneloop.sample.data.sum_chain.wrong_steps"),
        "noisy critic": StepCritic(path=noisy),
    }


class Calculator:
    """logits [value, operand, action]; with `skip` one more action, which leaves the value as it is."""

    def __init__(self, skip: bool):
        actions = MODULUS + skip
        logits = torch.zeros(MODULUS, MODULUS, actions, dtype=torch.float64)
        logits += math.log(0.4 / 9 if skip else 0.5 / 9)
        if skip:
            logits[..., SKIP] = math.log(0.1)
        value, operand = torch.meshgrid(torch.arange(MODULUS), torch.arange(MODULUS), indexing="ij")
        logits[value, operand, (value + operand) % MODULUS] = math.log(0.5)
        self.logits, self.skip = logits.requires_grad_(), skip

    @torch.no_grad()
    def accuracy(self, length: int) -> float:
        """Exact chance of the right answer, over all prompts."""
        chance = self.logits.softmax(-1)
        move = chance[..., :MODULUS].clone()  # [value, operand, next value]
        if self.skip:
            move += torch.eye(MODULUS, dtype=move.dtype)[:, None] * chance[..., SKIP:]
        over = torch.linalg.matrix_power(move.transpose(0, 1), length)
        operand, start = torch.meshgrid(torch.arange(MODULUS), torch.arange(MODULUS), indexing="ij")
        return float(over[operand, start, (start + length * operand) % MODULUS].mean())

    @torch.no_grad()
    def sample(self, length: int, step: int, draw: torch.Generator, seed: int) -> Rollouts:
        """PROMPTS groups of SIZE solutions: tables, text, outcome, and whether each step is `sound`."""
        prompts = torch.randint(MODULUS, (2, PROMPTS), generator=draw).repeat_interleave(SIZE, 1)
        start, operand = prompts
        value, chosen, before = start, [], []
        for _ in range(length):
            law = self.logits[value, operand].softmax(-1)
            action = torch.multinomial(law, 1, generator=draw).squeeze(1)
            chosen.append(action)
            before.append(value)
            value = torch.where(action == SKIP, value, action)
        n = len(start)
        token, previous = torch.stack(chosen, 1).flatten(), torch.stack(before, 1).flatten()
        added = operand.repeat_interleave(length)
        table = {
            "parent": chain_parents(torch.full((n,), length)),
            "token": token,
            "previous": previous,
            "operand": added,
            "logprob": self.logits.log_softmax(-1)[previous, added, token].float(),
            "share": torch.ones(n * length),
            "sound": (token == (previous + added) % MODULUS) | (token == SKIP),
        }
        columns = {
            "id": torch.arange(n) + step * n,
            "group": torch.arange(n) // SIZE,
            "last": torch.arange(1, n + 1) * length - 1,
            "reward": (value == (start + length * operand) % MODULUS).double(),
            "prompts": torch.stack([start, operand], 1),
        }
        return Rollouts(columns, Actions(table), {"seed": seed, "step": step, "progress": 0.0})

    def learn(self, rollouts: Rollouts, optimiser: torch.optim.Optimizer) -> None:
        """One clipped policy-gradient update, the mean over tokens."""
        actions = torch.arange(len(rollouts.actions))
        loss, _ = PolicyGradient()(Answering(self, rollouts), rollouts, actions)  # type: ignore[arg-type]
        optimiser.zero_grad()
        (loss * weights(rollouts, "action")).sum().backward()
        optimiser.step()


@dataclass
class Answering:
    """What an objective asks of the table, about all actions."""

    policy: Calculator
    rollouts: Rollouts

    @property
    def logprob(self) -> Tensor:
        """[N], of the actions taken."""
        actions = self.rollouts.actions
        law = self.policy.logits.log_softmax(-1)
        return law[actions["previous"], actions["operand"], actions.token]


def written(rollouts: Rollouts, length: int) -> Rollouts:
    """The solutions as text, with the characters that each action wrote."""
    actions = rollouts.actions
    lines = [
        f"{value}+{operand}={result}"
        for value, operand, result in zip(
            actions["previous"].tolist(), actions["operand"].tolist(), actions.token.tolist(), strict=True
        )
    ]
    wide = len("3+4=7" + BREAK)
    first = torch.arange(length).repeat(len(rollouts)) * wide
    last = first + torch.tensor(wide).where((torch.arange(len(first)) + 1) % length > 0, wide - len(BREAK))
    example = [
        {"prompt": f"{start}+{operand}:", "start": start, "operand": operand, "length": length}
        for start, operand in rollouts["prompts"].tolist()
    ]
    text = [BREAK.join(lines[i : i + length]) for i in range(0, len(lines), length)]
    told: dict[str, Any] = {"text": text, "example": example, "status": ["stop"] * len(rollouts)}
    return rollouts.put(told).put_actions(span=torch.stack([first, last], 1))


def steps_to_target(seed: int, rate: float, mark: Mark) -> tuple[float, Tensor]:
    """(updates until exact accuracy is TARGET, LIMIT if never; how votes met [sound, unsound] steps: sums).

    The second is float64 [2, 2]: for sound and for unsound steps, flaws and count.
    """
    policy, draw = Calculator(skip=False), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([policy.logits], lr=rate, betas=(0.9, 0.99))
    met = torch.zeros(2, 2, dtype=torch.float64)
    for step in range(LIMIT):
        if policy.accuracy(LENGTH) >= TARGET:
            return step, met
        batch = mark(policy.sample(LENGTH, step, draw, seed))
        if "flaw" in batch.actions:
            for kind in (0, 1):
                flaws = batch.actions.flaw[batch.actions["sound"] == (kind == 0)]
                met[kind] += torch.tensor([float(flaws.sum()), float(len(flaws))], dtype=torch.float64)
        policy.learn(batch, optimiser)
    return LIMIT, met


def by_token(critic: StepCritic) -> Mark:
    """CAPO with this critic."""
    return lambda batch: TokenLevel()(critic(written(batch, LENGTH)))


def by_number(critic: StepCritic) -> Mark:
    """GRPO that is told the critic's verdict as a number: the outcome less the share of steps found wrong."""

    def mark(batch: Rollouts) -> Rollouts:
        judged = critic(written(batch, LENGTH))
        wrong = judged.actions.flaw.double().view(len(judged), LENGTH).mean(1)
        return GroupRelative()(judged.put(reward=judged.reward - wrong))

    return mark


def train(arm: str, rate: float, seed: int) -> Row:
    """E1: steps to the target; work is what was sampled until then."""
    method, _, critic = arm.removeprefix("E1: ").partition(", ")
    mark: Mark = GroupRelative()
    if critic:
        mark = (by_token if method == "CAPO" else by_number)(critics()[critic])
    steps, met = steps_to_target(seed, rate, mark)
    calls = critics()[critic].count if critic else 0
    found = {"steps to 50 %": steps, "critic calls": steps * PROMPTS * SIZE * calls}
    seen = met[:, 0] / met[:, 1].clamp(min=1)
    found |= {"wrong steps seen": float(seen[1]), "invented": float(seen[0])}
    return found | {"work": max(1.0, steps) * PROMPTS * SIZE}


def hacked(seed: int, outcome: float, penalty: float) -> dict[str, float]:
    """E2: accuracy after 50 and 200 updates where skipping is never called wrong."""
    policy, draw = Calculator(skip=True), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([policy.logits], lr=HACKED_RATE, betas=(0.9, 0.99))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # penalties above the outcome are what is measured
        credit = TokenLevel(outcome_weight=outcome, process_weight=penalty)
    found: dict[str, float] = {}
    for step in range(1, HACKED_STEPS + 1):
        batch = policy.sample(HACKED_LENGTH, step, draw, seed)
        batch = credit(batch.put_actions(flaw=(~batch.actions["sound"]).float()))
        policy.learn(batch, optimiser)
        if step in (HACKED_STEPS // 4, HACKED_STEPS):
            found[f"accuracy after {step}"] = policy.accuracy(HACKED_LENGTH)
    found["skipped"] = float((batch.actions.token == SKIP).double().mean())
    return found


def penalties(seed: int, advance: Advance) -> Rows:
    """E2 of one seed; all begin at the same table of logits."""
    rows = {}
    for outcome, penalty in (*((2.0, penalty) for penalty in PENALTIES), (0.0, 1.0)):
        rows[f"E2: C = {outcome:g}, P = {penalty:g}"] = hacked(seed, outcome, penalty)
        advance(f"seed {seed}: C {outcome:g}, P {penalty:g}")
    return rows


def headline(rows: Rows) -> Fraction:
    """Steps of GRPO that is told the critic as a number over CAPO's; the worse of the two critics."""
    steps = [
        (rows[f"E1: GRPO, {critic}"]["steps to 50 %"], rows[f"E1: CAPO, {critic}"]["steps to 50 %"])
        for critic in ("exact critic", "noisy critic")
    ]
    return min(steps, key=lambda pair: pair[0] / pair[1])


CLAIM = Claim(
    paper="arXiv 2508.02298",
    parts=("step_critic", "token_level"),
    recipe="capo",
    says="+1.0 to +2.9 points over GRPO with rule rewards (Llama 1B and 3B, Qwen2.5 1.5B and 7B)",
    claim="on chains of 8 steps GRPO, told the same critic's verdict as one number, needs 1.25 times the "
    "training steps of CAPO to 50 % accuracy, with an exact and with a noisy critic",
    target=1.25,
    arms=(
        Arm("E1: GRPO", RATES),
        Arm("E1: GRPO, exact critic", RATES),
        Arm("E1: GRPO, noisy critic", RATES),
        *(Arm(f"E1: CAPO, {name}", RATES) for name in critics()),
    ),
    train=train,
    score=lambda row: -row["steps to 50 %"],
    work="sampled solutions until the target",
    run=penalties,
    headline=headline,
    units=len(PENALTIES) + 1,
)
