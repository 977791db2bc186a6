"""XRPO's planner against the uniform one at equal rollouts: coins of different bias, and a small transformer.

Coins: 512 prompts of independent pass rates with logit ~ N(-1, 3^2); nothing is shared, so easy prompts
cannot help hard ones. Transformer: sums, differences, products and maxima modulo 13 of which it has learned
400 of 676 and mostly fails on the rest; prompts share its weights. `prompt weighting` says that prompts weigh
alike in the loss, else rollouts do. A larger share of informative rollouts is also a larger gradient, which a
learning rate tuned for each arm takes out.
"""

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.claims import otr
from benchmarks.claims.claim import Arm, Row
from benchmarks.claims.xrpo.classroom import Classroom, Coin, GradientDescent, graded
from oneloop.core import draws
from oneloop.core.protocols import Mean
from oneloop.core.rollouts import Actions, Rollouts, Table
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import Loop
from oneloop.sample.data.rows import Rows as Data
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.supervised import Supervised

PROMPTS, GROUPS, BUDGET = 512, 32, 16
STEPS, TRANSFORMER_STEPS, PRETRAINING = 60, 30, 300
KNOWN = 400
"""Of the 676 questions, those the transformer has learned from."""
RATES, TRANSFORMER_RATES = (0.5, 1.5, 5.0, 15.0), (1e-4, 3e-4, 1e-3, 3e-3)
SETTLED = 405.0
"""From this rate on one step decides a coin for good, and a larger one does the same."""
COINS: dict[str, tuple[float | None, Mean]] = {
    # weight of the bonus (None: uniform), what weighs alike
    "uniform": (None, "action"),
    "no bonus": (0.0, "action"),
    "bonus .02": (0.02, "action"),
    "no bonus, prompt weighting": (0.0, "group"),
}
TRANSFORMER: dict[str, float | None] = {"uniform": None, "no bonus": 0.0}
ARMS = (
    *(Arm(f"coins: {name}", RATES, (0.0, SETTLED)) for name in COINS),
    *(Arm(f"transformer: {name}", TRANSFORMER_RATES) for name in TRANSFORMER),
)


def count_of(bonus: float | None) -> Uniform | Allocate:
    """16 rollouts a prompt on average."""
    return Uniform(n=BUDGET) if bonus is None else Allocate(base=8, mean_budget=BUDGET, exploration=bonus)


def informative(batch: Rollouts) -> float:
    """Share of rollouts in groups whose rewards differ, which are those that teach."""
    return float((batch.actions.advantage != 0).double().mean())


def asked(
    policy: Classroom, data: Data, keys: list[int], count: Uniform | Allocate, facts: dict[str, int]
) -> Rollouts:
    """A judged batch on the prompts `keys`, phase by phase; the plan's work for many groups at once."""
    groups, pieces, issued = (
        torch.arange(len(keys)),
        list[Rollouts](),
        torch.zeros(len(keys), dtype=torch.long),
    )
    solved = torch.zeros(len(keys), dtype=torch.float64)
    for phase in range(count.rounds):
        mean = solved / issued
        std = (issued * mean * (1 - mean) / (issued - 1)).sqrt()
        state = {
            "group": groups,
            "round": torch.full_like(groups, phase),
            "issued": issued,
            "verdicts": issued,
            "mean": mean,
            "std": std,
        }
        more = count.more(Table(state)).clamp(min=0)
        group = groups.repeat_interleave(more)
        columns: dict[str, Any] = {
            "id": facts["step"] * 10**5 + int(issued.sum()) + torch.arange(len(group)),
            "group": group,
            "example": [data.rows[keys[g]] for g in group.tolist()],
            "last": torch.full_like(group, -1),
        }
        fresh = Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), facts)
        pieces.append(graded(policy.sample(fresh)[0]))
        solved = solved.index_add(0, group, pieces[-1].reward)
        issued = issued + more
    return Rollouts.join(pieces)


@torch.no_grad()
def pass_rate(model: nn.Module, data: Data) -> float:
    """Exact mean probability of the right answer over all prompts."""
    questions = torch.tensor([row["question"] for row in data.rows])
    right = torch.tensor([int(row["answer"]) for row in data.rows])
    return float(model(questions).softmax(-1).gather(-1, right[:, None]).mean())


def rows_of(questions: Tensor, answers: Tensor) -> Data:
    """Data rows of `questions` [q] or [q, 3] with one right answer [q] each."""
    pairs = zip(questions.tolist(), answers.tolist(), strict=True)
    return Data(rows=[{"prompt": str(q), "question": q, "answer": str(a)} for q, a in pairs])


def coins(name: str, rate: float, seed: int) -> Row:
    """Pass rate before and after, and the share of informative rollouts; plain steps of gradient descent."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(PROMPTS, generator=draw, dtype=torch.float64) * 3 - 1
    data = rows_of(torch.arange(PROMPTS), torch.ones(PROMPTS, dtype=torch.long))
    order = torch.cat([torch.randperm(PROMPTS, generator=draw) for _ in range(1 + STEPS * GROUPS // PROMPTS)])
    (bonus, mean), policy, shares, work = COINS[name], Classroom(Coin(logits)), list[float](), 0
    # a mean over the batch makes a prompt's step 32 times smaller than a mean over its own rollouts
    learner = GradientDescent(policy, PolicyGradient(mean=mean), rate * GROUPS)
    for step in range(STEPS):
        keys = order[step * GROUPS : (step + 1) * GROUPS].tolist()
        facts = {"seed": int(draws.mix(seed, "coins") >> 1), "step": step}
        batch = GroupRelative(ddof=0)(asked(policy, data, keys, count_of(bonus), facts))
        learner(batch)
        shares.append(informative(batch))
        work += len(batch)
    return measured(pass_rate(Coin(logits), data), pass_rate(policy.model, data), shares, work)


def transformer(name: str, rate: float, seed: int) -> Row:
    """The same with a transformer of 0.1 M weights, Adam, and the library's own plan, loop and learner."""
    data, start = rows_of(*otr.all_questions()), half_learned(seed)
    policy = Classroom(copy.deepcopy(start))
    learner = Learner(policy, [PolicyGradient()], Learning(learning_rate=rate), TRANSFORMER_STEPS)  # type: ignore[arg-type]
    plan = Plan(data=data, groups=GROUPS, count=count_of(TRANSFORMER[name]))
    plan.begin(seed, TRANSFORMER_STEPS)
    loop, shares, work = Loop(plan, policy.sample, graded, [GroupRelative(ddof=0)], learner), list[float](), 0
    for batch in loop.run(TRANSFORMER_STEPS):
        shares.append(informative(batch))
        work += len(batch)
    return measured(pass_rate(start, data), pass_rate(policy.model, data), shares, work)


def train(arm: str, rate: float, seed: int) -> Row:
    """One arm of either experiment."""
    where, name = arm.split(": ")
    return (coins if where == "coins" else transformer)(name, rate, seed)


def measured(before: float, after: float, shares: Sequence[float], work: int) -> Row:
    """The columns of one arm."""
    share = sum(shares) / len(shares)
    return {
        "before": before,
        "after": after,
        "gain": after - before,
        "informative rollouts": share,
        "work": float(work),
    }


@cache
def half_learned(seed: int) -> otr.Calculator:
    """A model that has learned `KNOWN` of the questions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = otr.Calculator()
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    pool = torch.randperm(len(otr.all_questions()[0]), generator=draw)[:KNOWN]
    for _ in range(PRETRAINING):
        otr.learn(model, optimiser, Supervised(), otr.demonstrations(pool, 128, 0.0, 0, draw))
    return model
