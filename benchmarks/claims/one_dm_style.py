"""One-DM's style encoder: does a second branch on the Laplacian image tell unseen hands better apart?

Fonts are writers. An encoder of four strided convolutions learns from seen fonts by the contrastive loss
alone; then one word by each of 12 unseen fonts is looked up among one other word by each of them (chance:
1/12). Trained and tested on clean paper, and on textured, noisy paper. Arms, all with the same batches:

    spatial              one branch, on the picture
    spatial, gated       the same with One-DM's gate on its features
    spatial, matched     one branch, wider, with as many parameters as two
    spatial, doubled     one branch of twice the width: four times the parameters
    spatial twice        two branches of separate weights, both on the picture
    spatial + Laplacian  two branches, as in the paper: the claim
    Laplacian            one branch, on the Laplacian image alone

Two branches have a loss each, and embeddings side by side. A seed draws other writers for the unseen side,
other initial weights and other batches; the rendered words are the same. Accuracy is also taken after a
quarter of the steps. Headline: accuracy by which `spatial + Laplacian` is ahead of `spatial, matched` at the
end, the mean of both papers. Semi-synthetic: fonts do not vary as people do
(`oneloop.sample.data.handwriting.jitter`). The fonts:

    oneloop fetch handwriting-fonts
    python -m benchmarks.claims one_dm_style --seeds 5

Each arm learns at its own best rate, chosen by its mean accuracy at the end on seeds that are not reported.
The steps are fixed: 9600 pictures on each paper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.claims.claim import Arm, Claim, Row, Rows
from oneloop.core import draws
from oneloop.models.handwriting.laplacian import laplacian
from oneloop.models.handwriting.sup_con import sup_con
from oneloop.models.seeded import seeded
from oneloop.sample.data.handwriting.rows import padded
from oneloop.sample.data.handwriting_fonts import HandwritingFonts

TARGET = 0.03
HEIGHT, WIDTH = 32, 96
STEPS, BATCH = 200, 24
UNSEEN = 12
WORDS = 24
"""Words of each font: 16 to learn from, 8 to be tested on."""
TESTED = 8
GALLERIES = 20
"""Galleries in which each word is looked up."""
PAPERS = {"clean": (0.0, 0.0), "noisy": (0.3, 0.08)}
"""(texture, noise) of each paper."""
CHANNELS = (12, 24, 48, 96)
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


@dataclass(frozen=True)
class Kind:
    """An encoder: what each of its branches sees, how wide it is, and whether it has a gate."""

    sees: tuple[str, ...]
    """`picture` or `edges`, for each branch."""
    wide: float = 1.0
    """Times the channels of a branch."""
    gated: bool = False
    """Whether the features of the picture have a gate."""


KINDS = {
    "spatial": Kind(("picture",)),
    "spatial, gated": Kind(("picture",), gated=True),
    "spatial, matched": Kind(("picture",), wide=2**0.5),
    "spatial, doubled": Kind(("picture",), wide=2.0),
    "spatial twice": Kind(("picture", "picture")),
    "spatial + Laplacian": Kind(("picture", "edges")),
    "Laplacian": Kind(("edges",)),
}


class Branch(nn.Module):
    """Four convolutions of stride 2, a head for each place, their mean, scaled to length 1."""

    def __init__(self, wide: float, gated: bool):
        super().__init__()
        channels = [1, *(round(wide * each) for each in CHANNELS)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(channels, channels[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, b) for b in channels[1:])
        self.gate = nn.Conv2d(channels[-1], 1, 1) if gated else None
        self.head = nn.Sequential(
            nn.Linear(channels[-1], channels[-1]), nn.GELU(), nn.Linear(channels[-1], 32)
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x)).relu()
        if self.gate is not None:
            x = x * self.gate(x).sigmoid()
        tokens = self.head(x.flatten(2).transpose(1, 2))
        return F.normalize(tokens.mean(1), dim=1)


class Encoder(nn.Module):
    """The branches of an arm; one embedding [b, 32] for each."""

    def __init__(self, arm: Kind):
        super().__init__()
        self.sees = arm.sees
        self.branches = nn.ModuleList(Branch(arm.wide, arm.gated and sees == "picture") for sees in arm.sees)

    def forward(self, ink: Tensor, edges: Tensor) -> list[Tensor]:
        seen = {"picture": ink, "edges": edges}
        return [branch(seen[sees]) for branch, sees in zip(self.branches, self.sees, strict=True)]


def folder() -> str:
    """Where the fonts are."""
    return HandwritingFonts().folder


@cache
def rendered(paper: str) -> tuple[Tensor, Tensor]:
    """(ink [writers, WORDS, 1, H, W], its Laplacian images) of all fonts."""
    texture, noise = PAPERS[paper]
    data = HandwritingFonts(
        folder=folder(),
        height=HEIGHT,
        width=WIDTH,
        writers="all",
        held_out=0.0,
        longest=5,
        texture=texture,
        noise=noise,
    )
    shown = []
    for hand in data.hands:
        order = np.argsort(draws.uniforms(draws.mix("words", hand.name), np.arange(len(hand.targets))))
        words = [hand.targets[place] for place in order[:WORDS]]
        shown.append([padded(data.drawn(hand, word, 0), WIDTH) for word in words])
    images = torch.from_numpy(np.array(shown, dtype=np.float32))
    edges = laplacian(images.flatten(0, 1)[:, None]).view(*images.shape[:2], 1, HEIGHT, WIDTH)
    return 1 - images[:, :, None], edges


def trained(
    arm: Kind, paper: str, writers: Sequence[int], seed: int, steps: int, rate: float, batch: int = BATCH
) -> Iterator[Encoder]:
    """The encoder after a quarter of `steps` of the contrastive loss, and after all: a step sees two words by
    each of `batch` writers.
    """
    ink, edges = rendered(paper)
    with seeded(seed):
        encoder = Encoder(arm)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(steps):
        random = np.random.Generator(np.random.Philox(key=int(draws.mix(seed, "style", step))))
        who = torch.from_numpy(random.permutation(np.asarray(writers))[:batch].copy())
        words = np.stack([random.permutation(WORDS - TESTED)[:2] for _ in range(len(who))])
        place = (who[:, None].expand(-1, 2), torch.from_numpy(words))
        found = encoder(ink[place].flatten(0, 1), edges[place].flatten(0, 1))
        loss = torch.stack([sup_con(each.view(len(who), 2, -1), who).mean() for each in found]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
        if step + 1 in (max(1, steps // 4), steps):
            yield encoder


@torch.no_grad()
def retrieval(encoder: Encoder, paper: str, writers: Sequence[int], seed: int) -> float:
    """Share of words whose nearest of one other word by each of `writers` is by their own writer."""
    ink, edges = (each[list(writers), WORDS - TESTED :] for each in rendered(paper))
    found = torch.cat(encoder(ink.flatten(0, 1), edges.flatten(0, 1)), 1)
    embedded = found.view(len(writers), TESTED, -1)
    random = np.random.Generator(np.random.Philox(key=int(draws.mix(seed, "galleries"))))
    own = torch.arange(len(writers))
    right = []
    for word in range(TESTED):
        for _ in range(GALLERIES):
            others = torch.from_numpy((word + random.integers(1, TESTED, len(writers))) % TESTED)
            alike = embedded[:, word] @ embedded[own, others].T
            right.append((alike.argmax(1) == own).double().mean())
    return float(torch.stack(right).mean())


def train(name: str, rate: float, seed: int) -> Row:
    """Accuracy of an arm on each paper, early and at the end."""
    writers = len(rendered("clean")[0])
    order = np.argsort(draws.uniforms(draws.mix(seed, "unseen"), np.arange(writers))).tolist()
    unseen, seen = order[:UNSEEN], order[UNSEEN:]
    columns = {"work": float(len(PAPERS) * STEPS * BATCH * 2)}
    for paper in PAPERS:
        learned = trained(KINDS[name], paper, seen, seed, STEPS, rate)
        for moment, encoder in zip(("early", "end"), learned, strict=True):
            columns[f"{paper}, {moment}"] = retrieval(encoder, paper, unseen, seed)
    columns["parameters"] = float(sum(weight.numel() for weight in encoder.parameters()))
    return columns


def at_end(row: Row) -> float:
    """Accuracy at the end, the mean of both papers."""
    return sum(row[f"{paper}, end"] for paper in PAPERS) / len(PAPERS)


def headline(rows: Rows) -> float:
    """Accuracy gained over one branch of as many parameters, the mean of both papers."""
    return at_end(rows["spatial + Laplacian"]) - at_end(rows["spatial, matched"])


CLAIM = Claim(
    paper="arXiv 2409.04004",
    parts=("one_dm", "handwriting_fonts"),
    recipe="docs/handwriting.md",
    says="one reference with its Laplacian image beats methods that look at more than ten references",
    claim=f"a branch on the Laplacian image adds {TARGET:g} to one-shot retrieval of unseen hands",
    target=TARGET,
    headline=headline,
    arms=tuple(Arm(name, RATES) for name in KINDS),
    train=train,
    score=at_end,
    work="pictures embedded",
)
