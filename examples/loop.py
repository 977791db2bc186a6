"""A training loop without a recipe: the five stages written out, on a model that learns to add.

    python examples/loop.py          half a minute on two CPU cores, nothing is downloaded

Everything here is a part that a recipe can name (`oneloop parts` lists them); put your own in its place.
"""

from collections.abc import Iterator

from oneloop import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.judge.stage import Judging
from oneloop.judge.verifier import Verifier
from oneloop.loop import leave_out
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.select.mixed_groups import MixedGroups
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.supervised import Supervised

SUMS = [
    {"prompt": f"{a}+{b}=", "completion": str(a + b), "answer": str(a + b)}
    for a in range(5)
    for b in range(5)
]


def warm_start(policy: LanguagePolicy, steps: int, seed: int = 0) -> None:
    """Imitates the `completion` column for a few steps, so that there is something to reinforce."""
    plan = Plan(data=Rows(rows=SUMS), groups=25, count=Uniform(n=1))
    plan.begin(seed, steps)
    learner = Learner(policy, [Supervised()], Learning(learning_rate=1e-2), steps)
    for _ in range(steps):
        asked = plan.ask()
        assert asked is not None, "the data has no end"
        plan.tell(*policy.demonstrate(asked))
        batch = plan.batch()
        assert batch is not None, "a group of one is complete at once"
        learner(leave_out(batch))


def reinforce(policy: LanguagePolicy, steps: int, seed: int = 1) -> Iterator[Rollouts]:
    """GRPO; gives each batch after the update on it."""
    plan = Plan(data=Rows(rows=SUMS), groups=8, count=Uniform(n=8))
    plan.begin(seed, steps, first=10**9)  # ids of the warm start are not used again
    judge, credit, select = Judging([Verifier(by="exact")]), GroupRelative(), MixedGroups()
    learner = Learner(policy, [PolicyGradient()], Learning(learning_rate=1e-3), steps)
    while steps:
        # 1. what to try: rows with a prompt, each eight times
        asked = plan.ask()
        assert asked is not None, "the data has no end"
        # 2. sample candidates, and 3. judge them: `reward`, one number a rollout
        finished, unfinished = policy.sample(asked)
        plan.tell(judge(finished), unfinished)
        batch = plan.batch()
        if batch is None:
            continue  # groups are missing: ask again
        # 4. which action earned it (`actions.advantage`), and what to learn from (`actions.share`)
        batch = select(credit(batch))
        # 5. update the weights
        yield learner(leave_out(batch))
        steps -= 1


def main(warm: int = 30, steps: int = 40) -> list[float]:
    """Trains, prints a line every few steps, and gives the share of right answers of each step."""
    model = SmallLlama(hidden_size=64, layers=2, heads=4, alphabet="0123456789+=", max_positions=16)
    policy = Language(model=model, max_new_tokens=3).open()
    warm_start(policy, warm)
    right = []
    for number, batch in enumerate(reinforce(policy, steps), start=1):
        right.append(float(batch.reward.mean()))
        if number % 10 == 1 or number == steps:
            print(f"step {number}: {right[-1]:.0%} right, e.g. {batch.context[0][0][1]}{batch.text[0]}")
    return right


if __name__ == "__main__":
    main()
