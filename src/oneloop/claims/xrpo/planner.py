"""XRPO's planner against the uniform one at equal rollouts: coins of different bias, and a small transformer.

Coins: 512 prompts of independent pass rates with logit ~ N(-1, 3^2); nothing is shared, so easy prompts
cannot help hard ones. Transformer: sums, differences, products and maxima modulo 13, half learned from noisy
labels. `rollout` and `prompt` say what weighs alike in the loss. As a larger share of informative rollouts is
also a larger gradient, uniform allocation with a learning rate raised by as much is measured too.
"""

import copy

import torch
from torch import Tensor, nn

from oneloop.claims import otr
from oneloop.claims.xrpo.classroom import Classroom, Coin, GradientDescent, graded
from oneloop.credit.group_relative import GroupRelative
from oneloop.data.rows import Rows as Data
from oneloop.learner import Learner, Learning
from oneloop.loop import Loop
from oneloop.measure.claims import Advance, Rows
from oneloop.objective.policy_gradient import PolicyGradient
from oneloop.objective.supervised import Supervised
from oneloop.plan.allocate import Allocate
from oneloop.plan.plan import Plan
from oneloop.plan.uniform import Uniform
from oneloop.protocols import Mean
from oneloop.rollouts import Rollouts

PROMPTS, GROUPS, BUDGET = 512, 32, 16
STEPS, TRANSFORMER_STEPS, PRETRAINING = 60, 40, 300
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
    "bonus .02": (0.02, "action", 1.0),
    "no bonus, prompt weighting": (0.0, "group", 1.0),
}
UNITS = len(COINS) + len(TRANSFORMER)


def plan_of(data: Data, bonus: float | None, seed: int, steps: int) -> Plan:
    """A plan of 32 groups of 16 rollouts on average."""
    uniform = Uniform(n=BUDGET)
    count = uniform if bonus is None else Allocate(base=8, mean_budget=BUDGET, exploration=bonus)
    plan = Plan(data=data, groups=GROUPS, count=count)
    plan.begin(seed, steps)
    return plan


def mixed_share(batch: Rollouts) -> float:
    """Share of rollouts in groups whose rewards differ, which are those that teach."""
    return float((batch.actions.advantage != 0).double().mean())


def train(policy: Classroom, learner: GradientDescent | Learner, plan: Plan, steps: int) -> float:
    """`steps` steps; returns the mean share of rollouts in mixed groups."""
    loop = Loop(plan, policy.sample, graded, [GroupRelative(ddof=0)], learner)  # type: ignore[arg-type]
    shares = [mixed_share(batch) for batch in loop.run(steps)]
    return sum(shares) / len(shares)


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
    made = {}
    for name, (bonus, mean, factor) in COINS.items():
        policy = Classroom(Coin(logits))
        # a mean over the batch makes a prompt's step 32 times smaller than a mean over its own rollouts
        learner = GradientDescent(policy, PolicyGradient(mean=mean), RATE * GROUPS * factor)
        before = pass_rate(policy.model, data)
        share = train(policy, learner, plan_of(data, bonus, seed, STEPS), STEPS)
        made[f"coins: {name}"] = measured(before, pass_rate(policy.model, data), share)
        advance(f"seed {seed}: coins, {name}")
    return made


def transformer(seed: int, advance: Advance) -> Rows:
    """The same with a transformer of 0.1 M weights and the library's own learner."""
    start = half_learned(seed)
    questions, answers = otr.all_questions()
    data = rows_of(questions, answers)
    before, made = pass_rate(start, data), {}
    for name, (bonus, mean, factor) in TRANSFORMER.items():
        policy = Classroom(copy.deepcopy(start))
        options = Learning(learning_rate=TRANSFORMER_RATE * factor)
        learner = Learner(policy, [PolicyGradient(mean=mean)], options, TRANSFORMER_STEPS)
        plan = plan_of(data, bonus, seed, TRANSFORMER_STEPS)
        share = train(policy, learner, plan, TRANSFORMER_STEPS)
        made[f"transformer: {name}"] = measured(before, pass_rate(policy.model, data), share)
        advance(f"seed {seed}: transformer, {name}")
    return made


def measured(before: float, after: float, share: float) -> dict[str, float]:
    """The columns of one arm."""
    return {"before": before, "after": after, "gain": after - before, "informative rollouts": share}


def half_learned(seed: int) -> otr.Calculator:
    """A model stopped on its way, so that some questions are easy for it and some are not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = otr.Calculator()
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    everything = torch.arange(len(otr.all_questions()[0]))
    for _ in range(PRETRAINING):
        otr.learn(model, optimiser, Supervised(), otr.demonstrations(everything, 128, 0.15, 0, draw))
    return model
