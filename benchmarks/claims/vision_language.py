"""GRPO on a model that sees pictures, beside as many right answers to imitate (arXiv 2402.03300).

The questions of the recipe picture_questions (how many discs, which colour, which digit) and its LLaVA of .3
million weights, the vision tower trained too. From one supervised warm start a seed:

    GRPO        `STEPS` updates on `PROMPTS` pictures, `SIZE` sampled answers each, judged right or wrong
    imitation   as many updates on as many pictures, each with its right answer

Imitation is told the answer, GRPO whether its own is right, by a judge that knows the answer too. Each arm
has its own best learning rate. Held out are `TESTED` questions about pictures of the test split, one greedy
answer each and four sampled ones; a picture is drawn anew for each, and none is learned from. Columns:
accuracy before (after the warm start) and after, of the greedy answers by kind of question too. Headline:
what GRPO adds to the accuracy, the lesser of greedy and sampled.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.claims.bases import kept
from benchmarks.claims.claim import Arm, Claim, Row, Rows
from oneloop.core.protocols import Part
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.loop import Loop
from oneloop.models.vision_language.small_llava import SmallLlava
from oneloop.run.evaluation import answered, measure
from oneloop.sample.data.picture_questions import PictureQuestions
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.pictures.policy import VisionLanguagePolicy
from oneloop.sample.policies.vision_language import VisionLanguage
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.supervised import Supervised

WARM_UP, STEPS, PROMPTS, SIZE = 400, 1000, 16, 8
TESTED, SAMPLES = 480, 4
RATES = (1e-4, 2e-4, 4e-4, 8e-4)
QUESTIONS = 1_000_000


def exact(finished: Rollouts) -> Rollouts:
    """The judge: 1 for the right answer, character by character."""
    right = [text == row["answer"] for text, row in zip(finished.text, finished.example, strict=True)]
    verdict = torch.tensor(right, dtype=torch.float64)
    return finished.put(reward=verdict, correct=verdict)


def opened(seed: int) -> VisionLanguagePolicy:
    """A policy that has learned nothing."""
    model = SmallLlava(hidden_size=64, layers=2, image_size=32, patch_size=8, seed=seed)
    return VisionLanguage(model=model, freeze_vision=False, max_new_tokens=8, device="cpu").open()


def learn(
    policy: VisionLanguagePolicy,
    data_seed: int,
    groups: int,
    size: int,
    sample: Callable[[Rollouts], Any],
    judge: Callable[[Rollouts], Rollouts] | None,
    parts: Sequence[Part],
    objective: Any,
    learning: Learning,
    steps: int,
) -> None:
    """`steps` updates on questions of the train split."""
    data = PictureQuestions(digits=1, size=QUESTIONS, seed=data_seed)
    plan = Plan(data=data, groups=groups, count=Uniform(n=size))
    plan.begin(data_seed, steps)
    for _ in Loop(plan, sample, judge, parts, Learner(policy, [objective], learning, steps)).run(steps):
        pass


def imitate(
    policy: VisionLanguagePolicy, data_seed: int, groups: int, learning: Learning, steps: int
) -> None:
    """`steps` updates on right answers, `groups` of them each."""
    learn(policy, data_seed, groups, 1, policy.demonstrate, None, [], Supervised(), learning, steps)


@kept
def warmed_up(seed: int) -> dict[str, Tensor]:
    """Weights after the recipe's warm start, which writes an answer of the right form."""
    policy = opened(seed)
    learning = Learning(learning_rate=1e-3, warmup=10, schedule="cosine")
    imitate(policy, 2 * seed, 32, learning, WARM_UP)
    return dict(policy.model.state_dict())


def accuracy(policy: VisionLanguagePolicy) -> Row:
    """Of held-out questions, greedy by kind and in all, and sampled."""
    data, found = PictureQuestions(digits=1, size=TESTED, split="test"), dict[str, float]()
    for mode in ("greedy", "sampled"):
        judged = answered(policy, exact, data, TESTED, SAMPLES, 0, mode)
        found[mode] = float(measure(judged, mode)["accuracy"])
        if mode == "greedy":
            for kind in data.kinds:
                asked = torch.tensor([row["kind"] == kind for row in judged.example])
                found[kind] = float(judged.correct[asked].mean())
    return found


def train(arm: str, rate: float, seed: int) -> Row:
    """Accuracy before and after, and the work in between."""
    policy = opened(seed)
    policy.model.load_state_dict(warmed_up(seed))
    policy.engine.refresh()
    found = {f"{name} before": each for name, each in accuracy(policy).items()}
    measured = policy.meter.flops(policy.model)
    learning = Learning(learning_rate=rate, warmup=5, betas=(0.9, 0.99), schedule="cosine")
    if arm == "GRPO":
        sample, parts = policy.sample, [GroupRelative()]
        learn(policy, 2 * seed + 1, PROMPTS, SIZE, sample, exact, parts, PolicyGradient(), learning, STEPS)
    else:
        imitate(policy, 2 * seed + 1, PROMPTS, learning, STEPS)
    work = policy.meter.flops(policy.model) - measured
    return {**found, **accuracy(policy), "work": work}


def headline(rows: Rows) -> float:
    """What GRPO adds, greedy or sampled, whichever is less."""
    row = rows["GRPO"]
    return min(row[mode] - row[f"{mode} before"] for mode in ("greedy", "sampled"))


CLAIM = Claim(
    paper="arXiv 2402.03300",
    parts=("vision_language", "group_relative", "policy_gradient"),
    recipe="picture_questions",
    says="a mathematician's text model gains 5 to 9 points by GRPO after imitation; no pictures",
    claim="GRPO raises the held-out accuracy of a model that reads pictures, greedy and sampled, by",
    target=0.0,
    found="as many right answers to imitate add 29 points greedy and 36 sampled",
    arms=(Arm("GRPO", RATES), Arm("imitation", RATES)),
    train=train,
    score=lambda row: row["greedy"] + row["sampled"],
    work="FLOPs of sampling and learning",
    headline=headline,
)
