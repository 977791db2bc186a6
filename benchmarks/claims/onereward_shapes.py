"""OneReward's one judge on captioned scenes of 32x32 pixels: the claim of onereward one size up.

A transformer of 1.4 M parameters learns to fill boxes in scenes of one or two shapes and to draw their
borders anew, then is trained by the arms of claims/onereward but the moving reference: on a judge that is
told task and criterion, on one that is not, and as a policy for each task. What its people want, all of it
differentiable and read off the pixels:
    text_alignment    log-share of the asked colour in the colour inside of the mask
    consistency       - mean squared jump across the border of the mask
    removal_quality   - mean squared distance from the empty background inside of the mask
`reader 2` tells colours from blue-, green- and redness of the whole image instead. All seeds share one base:
they differ in prompts, masks and noise, so intervals say nothing about other networks.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from benchmarks.claims import onereward
from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.onereward import APART, RATES, Rivals, editing, headline
from benchmarks.claims.onereward.scores import Query, ScoreNetwork, Sharpness, conditions, consistency
from oneloop.core.part import part
from oneloop.measure.scenes import BACKGROUND
from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.models.judges.pair_mlp import PairMlp
from oneloop.sample.data.shapes import Shapes
from oneloop.sample.policies.denoising.policy import FlowPolicy

COLOURS = ("red", "green", "blue")
FLOOR = 0.02
"""Colourfulness of a region in which there is nothing, so that its logarithm is finite."""
ARMS = ("query", "no query", APART)


def shares(images: Tensor, mask: Tensor) -> Tensor:
    """[b, 3], of red, green and blue in the colour inside of `mask`: how far each leads the other two."""
    others = (images.sum(1, keepdim=True) - images) / 2
    lead = ((images - others).clamp(min=0) * mask).flatten(2).sum(2)
    lead = lead / mask.flatten(2).sum(2).clamp(min=1) + FLOOR
    return lead / lead.sum(1, keepdim=True)


@part()
class SceneScores:
    """A judge that is right by construction."""

    query: Query = True
    sharpness: Sharpness = 2.0
    reader: Annotated[int, Field(ge=0, le=1)] = 0
    """0 looks for the colour inside of the mask, 1 in the whole image."""

    def build(self) -> "SceneScoreNetwork":
        """The judge as a network without weights."""
        return SceneScoreNetwork(self)


class SceneScoreNetwork(ScoreNetwork):
    """Log-probabilities of yes and no from the true scores of scenes."""

    spread = {"text_alignment": 0.5, "consistency": 0.05, "removal_quality": 0.05}

    def scores(self, images: Tensor, rows: Sequence[Any]) -> dict[str, Tensor]:
        """Each [b], of images [b, 3, H, W] made for `rows`."""
        condition = conditions(rows, images)
        mask = condition[:, -1:]
        asked = torch.tensor([COLOURS.index(row["colour"]) for row in rows])
        seen = shares(images, mask if self.options.reader == 0 else torch.ones_like(mask))
        empty = torch.tensor(BACKGROUND).view(1, 3, 1, 1) / 255
        ink = ((images - empty).square() * mask).flatten(1).sum(1)
        return {
            "text_alignment": seen.log().gather(1, asked[:, None])[:, 0],
            "consistency": consistency(images, condition),
            "removal_quality": -ink / mask.flatten(1).sum(1).clamp(min=1),
        }


@part()
class Labelled(Shapes):
    """Scenes whose colour's number is their label, as a judge without language is told it."""

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number."""
        row = super().__getitem__(key)
        return {**row, "label": COLOURS.index(row["colour"])}


def scenes(split: str) -> Labelled:
    """Scenes of one or two shapes; no scene of one split is in the other but by chance."""
    return Labelled(size=2048, most=2, colours=COLOURS, seed=0 if split == "train" else 1000)


SCENES = editing.Setting(
    data=scenes,
    network=lambda seed: FlowTransformer(
        patch=8, layers=4, words=8, vocabulary=1024, condition_channels=4, seed=seed
    ),
    judge=SceneScores,
    pretraining=400,
    taught=64,
    copies=2,
    iterations=40,
    batch=64,
    paired=200,
    rater=partial(PairMlp, image_size=32, channels=3, classes=len(COLOURS)),
    sets=500,
    held_out=100,
    lessons=400,
)


@cache
def base() -> FlowPolicy:
    """The network that every seed starts from."""
    return editing.taught(SCENES, 0)


@cache
def started(seed: int) -> tuple[FlowPolicy, Rivals]:
    """The base, and its images of this seed."""
    return base(), editing.rivals_of(SCENES, base(), seed)


def train(arm: str, rate: float, seed: int) -> Row:
    """An arm on scenes."""
    return onereward.row(SCENES, started(seed), arm, rate, seed)


def run(seed: int, advance: Advance) -> Rows:
    """The base against itself."""
    rows = {"base": editing.win_rates(SCENES, *started(seed), seed)}
    advance(f"seed {seed}: base")
    return rows


CLAIM = Claim(
    paper="arXiv 2508.21066",
    parts=("preference", "reward_backprop", "mixture", "edits", "stop"),
    recipe="onereward",
    says="one judge for all tasks and criteria: usable pictures 69 % against the best rival's 52 % (fill)",
    claim=(
        "on 32x32 scenes, one judge told task and criterion lifts the worst win-rate by .1 over one not told "
        "and over a policy for each task"
    ),
    target=0.1,
    arms=tuple(Arm(name, RATES) for name in ARMS),
    train=train,
    score=lambda row: row["worst"],
    work="network evaluations of sampling and learning, the reference's included",
    run=run,
    headline=headline,
    units=1,
)
