"""XRPO's planner against the uniform one at equal rollouts: coins of different bias, and a small transformer.

Coins: 512 prompts of independent pass rates with logit ~ N(-1, 3^2); nothing is shared, so easy prompts
cannot help hard ones. Transformer: sums, differences, products and maxima modulo 13; `certain` has learned
400 of the 676 questions and mostly fails on the rest, `undecided` has seen all with 15 % wrong labels.
`rollout` and `prompt` say what weighs alike in the loss. As a larger share of informative rollouts is also
a larger gradient, uniform allocation with a learning rate raised by as much is measured too.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.claims import otr
from benchmarks.claims.claim import Advance, Rows
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
RATE, TRANSFORMER_RATE = 0.5, 3e-4
UNIFORM = "uniform"
Arm = tuple[float | None, Mean, float]
COINS: dict[str, Arm] = {
    # weight of the bonus (None: uniform), what weighs alike, factor of the learning rate
    UNIFORM: (None, "action", 1.0),
    "uniform, learning rate x 1.14": (None, "action", 1.14),
    "no bonus": (0.0, "action", 1.0),
    "bonus .02": (0.02, "action", 1.0),
    "bonus .05": (0.05, "action", 1.0),
    "no bonus, prompt weighting": (0.0, "group", 1.0),
}
TRANSFORMER: dict[str, Arm] = {
    UNIFORM: (None, "action", 1.0),
    "no bonus": (0.0, "action", 1.0),
}
START: dict[str, tuple[int, float]] = {
    # questions of the 676 the transformer has learned from, share of wrong labels among them
    "certain": (400, 0.0),
    "undecided": (676, 0.15),
}
UNITS = len(COINS) + len(START) * len(TRANSFORMER)


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


def coins(seed: int, advance: Advance) -> Rows:
    """One row an arm: pass rate before and after, and the share of informative rollouts."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(PROMPTS, generator=draw, dtype=torch.float64) * 3 - 1
    data = rows_of(torch.arange(PROMPTS), torch.ones(PROMPTS, dtype=torch.long))
    order = torch.cat([torch.randperm(PROMPTS, generator=draw) for _ in range(1 + STEPS * GROUPS // PROMPTS)])
    before, made = pass_rate(Coin(logits), data), {}
    for name, (bonus, mean, factor) in COINS.items():
        policy, shares = Classroom(Coin(logits)), []
        # a mean over the batch makes a prompt's step 32 times smaller than a mean over its own rollouts
        learner = GradientDescent(policy, PolicyGradient(mean=mean), RATE * GROUPS * factor)
        for step in range(STEPS):
            keys = order[step * GROUPS : (step + 1) * GROUPS].tolist()
            facts = {"seed": int(draws.mix(seed, "coins") >> 1), "step": step}
            batch = GroupRelative(ddof=0)(asked(policy, data, keys, count_of(bonus), facts))
            learner(batch)
            shares.append(informative(batch))
        after = pass_rate(policy.model, data)
        made[f"coins: {name}"] = measured(before, after, sum(shares) / len(shares))
        advance(f"seed {seed}: coins, {name}")
    return made


def transformer(seed: int, advance: Advance) -> Rows:
    """The same with a transformer of 0.1 M weights and the library's own plan, loop and learner."""
    made = {}
    data = rows_of(*otr.all_questions())
    for start, (known, wrong) in START.items():
        model = half_learned(seed, known, wrong)
        before = pass_rate(model, data)
        for name, (bonus, mean, factor) in TRANSFORMER.items():
            policy = Classroom(copy.deepcopy(model))
            options = Learning(learning_rate=TRANSFORMER_RATE * factor)
            learner = Learner(policy, [PolicyGradient(mean=mean)], options, TRANSFORMER_STEPS)  # type: ignore[arg-type]
            plan = Plan(data=data, groups=GROUPS, count=count_of(bonus))
            plan.begin(seed, TRANSFORMER_STEPS)
            loop = Loop(plan, policy.sample, graded, [GroupRelative(ddof=0)], learner)
            shares = [informative(batch) for batch in loop.run(TRANSFORMER_STEPS)]
            after = pass_rate(policy.model, data)
            made[f"transformer, {start}: {name}"] = measured(before, after, sum(shares) / len(shares))
            advance(f"seed {seed}: transformer, {start}, {name}")
    return made


def measured(before: float, after: float, share: float) -> dict[str, float]:
    """The columns of one arm."""
    return {"before": before, "after": after, "gain": after - before, "informative rollouts": share}


def half_learned(seed: int, known: int, wrong: float) -> otr.Calculator:
    """A model stopped on its way, after `known` questions of which a share `wrong` was labelled wrongly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = otr.Calculator()
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    pool = torch.randperm(len(otr.all_questions()[0]), generator=draw)[:known]
    for _ in range(PRETRAINING):
        otr.learn(model, optimiser, Supervised(), otr.demonstrations(pool, 128, wrong, 0, draw))
    return model
