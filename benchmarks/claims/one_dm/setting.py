"""Words, model and training of the claim on One-DM."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oneloop.core.protocols import Data, Objective
from oneloop.loop import Loop
from oneloop.models.flow.one_dm import OneDm
from oneloop.models.judges.ctc_reader import ReaderConfig
from oneloop.models.judges.fit_reader import fit_hand_classifier, fit_reader
from oneloop.models.judges.hand_classifier import HandConfig
from oneloop.run.evaluation import held_out
from oneloop.sample.data.handwriting_fonts import HandwritingFonts
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.denoising.policy import FlowPolicy
from oneloop.sample.policies.flow import Flow
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.flow_matching import FlowMatching
from oneloop.update.objective.style_contrast import StyleContrast

FOLDER = HandwritingFonts().folder
"""Where the fonts are."""
HEIGHT, LETTERS, LETTER_WIDTH = 16, 3, 12
WIDTH = LETTERS * LETTER_WIDTH
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
BATCH, CALLS, TESTED = 32, 12, 256
SIZES: dict[str, Any] = {}
"""Options of the model that are not `OneDm`'s own values."""
RATE = 2e-3
"""Learning rate of stage 1: the recipe's."""
STEPS = 1500
"""Of stage 1."""
JUDGE_STEPS = 1200
"""Of the networks that judge and measure."""


def fonts(**options: Any) -> HandwritingFonts:
    """Words of up to three letters that fit the canvas."""
    return HandwritingFonts(
        **{"folder": FOLDER, "height": HEIGHT, "width": WIDTH, "longest": LETTERS, "size": 4096, **options},
    )


def tested() -> HandwritingFonts:
    """Held-out words of unseen writers."""
    return fonts(writers="unseen", vocabulary="held_out", size=TESTED, seed=1000)


@cache
def reader(seed: int, everything: bool) -> Any:
    """A reader of seen writers and known words, the reward, or of everything, which measures."""
    data = fonts(writers="all", vocabulary="all", seed=7) if everything else fonts()
    return fit_reader(data, ReaderConfig(height=HEIGHT), steps=JUDGE_STEPS, seed=seed)


@cache
def hands() -> Any:
    """A classifier of all writers, from known words that no arm has seen drawn."""
    data = fonts(writers="all", seed=8)
    config = HandConfig(writers=tuple(hand.name for hand in data.hands), height=HEIGHT)
    return fit_hand_classifier(data, config, steps=JUDGE_STEPS, seed=2)


def opened(seed: int, noise: str = "ode", edges: str = "clip") -> FlowPolicy:
    """A new policy."""
    model = OneDm(
        height=HEIGHT,
        letter_width=LETTER_WIDTH,
        letters=LETTERS,
        alphabet=ALPHABET,
        stride=8,
        predicts="data",
        edges=edges,  # type: ignore[arg-type]
        seed=seed,
        **SIZES,
    )
    return Flow(model=model, steps=CALLS, noise=noise, device="cpu").open()  # type: ignore[arg-type]


def taught(
    policy: FlowPolicy, objectives: Sequence[Objective], learning: Learning, steps: int, seed: int
) -> None:
    """Trains on demonstrations: words by seen writers."""
    plan = Plan(data=words(), groups=BATCH, count=Uniform(n=1))
    plan.begin(seed=seed, steps=steps)
    learner = Learner(policy, list(objectives), learning, steps)
    for _ in Loop(plan, policy.demonstrate, None, [], learner).run(steps):
        pass


@cache
def words() -> Data:
    """What every arm learns from; kept, for a word is dear to draw."""
    return fonts()


def stage_one(contrast: bool = True) -> list[Objective]:
    """The losses of stage 1."""
    loss = FlowMatching(even_below=0.5)
    return [loss, StyleContrast()] if contrast else [loss]


def learning(rate: float, **options: Any) -> Learning:
    """The whole batch at once: contrast is among it."""
    return Learning(learning_rate=rate, tokens_per_micro_batch=8192, **options)


@torch.no_grad()
def written(policy: FlowPolicy) -> tuple[Tensor, list[Any]]:
    """(pictures [n, 1, H, W] of the words that are tested, from the same noise for every arm; their rows)."""
    asked = held_out(tested(), TESTED, 1, 0)
    with policy.greedy():
        finished, _ = policy.sample(asked)
    return finished.output.float(), list(finished.example)


def rows() -> list[Any]:
    """The rows that are tested."""
    return list(held_out(tested(), TESTED, 1, 0).example)


def parameters(policy: FlowPolicy) -> float:
    """Weights of its network."""
    return float(np.sum([weight.numel() for weight in policy.model.parameters()]))
