"""What the update of a step costs with D3S, against that of plain GRPO on the same sampled rollouts.

One batch is sampled (16 prompts, 16 rollouts each, up to 64 tokens) and judged once, with success rates that
differ between prompts. Then all contenders take turns, each with its own policy and optimiser: credit, the
entropy of kept tokens where it is asked for, selection, forward, backward, AdamW. Times are processor seconds
of one thread. D3S is measured at five points of its schedule; `d3s` is the mean over them (trapezoids), the
cost of a whole phase. Sampling is not counted: it is the same for all.

    python benchmarks/d3s_update.py [--repeats 5]
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from oneloop.core import draws
from oneloop.core.declared import declared
from oneloop.core.protocols import Part
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import leave_out
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.reasoning import Reasoning
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.select.kept_share import Share
from oneloop.select.subset import Subset
from oneloop.select.top_tokens import TopTokens
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient

RESULT = Path(__file__).parent / "results" / "d3s_update.json"
GROUPS, PER_GROUP, LONGEST = 16, 16, 64
PROGRESS = (0.0, 0.25, 0.5, 0.75, 1.0)


def policy() -> LanguagePolicy:
    """A Llama of two blocks of width 128."""
    return Language(model=SmallLlama(hidden_size=128, layers=2), max_new_tokens=LONGEST, device="cpu").open()


def sampled(made: LanguagePolicy) -> Rollouts:
    """One judged batch; the success rates of its prompts are spread over 0 to 1."""
    problems = Reasoning(task="chain_sum", size=GROUPS)
    plan = Plan(
        data=Rows(rows=[{"prompt": problems[key]["prompt"]} for key in range(GROUPS)]),
        groups=GROUPS,
        count=Uniform(n=PER_GROUP),
    )
    plan.begin(seed=0, steps=1)
    finished, _ = made.sample(plan.ask())
    luck = torch.from_numpy(draws.uniforms(draws.mix("reward", finished.id.numpy()), 0))
    rate = finished.group.double() / (GROUPS - 1)
    return finished.put(reward=(luck < rate).double())


class Contender:
    """One way of updating, from the same weights."""

    def __init__(self, weights: dict, progress: float, select: tuple[Part, ...]):
        self.policy = policy()
        self.policy.model.load_state_dict(weights)
        learning = Learning(learning_rate=1e-6, betas=(0.9, 0.999))
        self.learner = Learner(self.policy, [PolicyGradient()], learning, 10_000)
        self.progress, self.select = progress, select
        self.seconds: list[float] = []
        self.tokens = 0

    def update(self, batch: Rollouts) -> None:
        """Credit, select and update on `batch`, timed."""
        batch = batch.put_facts(progress=self.progress)
        start = time.process_time()
        for part in (GroupRelative(), *self.select):
            if "actions.entropy" in declared(part, "reads"):
                batch = self.policy.annotate(batch, ["entropy"])
            batch = part(batch)
        self.learner(leave_out(batch))
        self.seconds.append(time.process_time() - start)
        self.tokens = int((batch.actions.share > 0).sum())


def phase(values: list[float]) -> float:
    """The mean over a phase of what was measured at the points `PROGRESS`."""
    return float(torch.trapezoid(torch.tensor(values), torch.tensor(PROGRESS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    made = policy()
    batch, weights = sampled(made), made.model.state_dict()
    arms: dict[str, tuple[float, tuple[Part, ...]]] = {
        "grpo": (0.0, ()),
        "d1s_cross": (0.0, (Subset(share=Share(start=0.25)),)),
        **{f"d3s at {progress}": (progress, (Subset(), TopTokens())) for progress in PROGRESS},
    }
    contenders = {name: Contender(weights, *arm) for name, arm in arms.items()}
    for repeat in range(repeats + 1):  # the first warms up
        for contender in contenders.values():
            contender.update(batch)
        print(repeat, {name: round(c.seconds[-1], 2) for name, c in contenders.items()}, flush=True)
    seconds = {name: contender.seconds[1:] for name, contender in contenders.items()}
    seconds["d3s"] = [phase([seconds[f"d3s at {p}"][repeat] for p in PROGRESS]) for repeat in range(repeats)]
    tokens = {name: contender.tokens for name, contender in contenders.items()}
    tokens["d3s"] = round(phase([float(tokens[f"d3s at {p}"]) for p in PROGRESS]))
    result: dict = {"repeats": repeats, "rollouts": len(batch), "threads": 1}
    for name, times in seconds.items():
        ratios = sorted(full / own for full, own in zip(seconds["grpo"], times, strict=True))
        result[name] = {
            "seconds": statistics.median(times),
            "tokens": tokens[name],
            "grpo_over": statistics.median(ratios),
            "low": ratios[0],
            "high": ratios[-1],
        }
        print(
            f"{name}: GRPO takes {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) times as "
            f"long; {tokens[name]} of {tokens['grpo']} tokens"
        )
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
