"""How a tokenizer is trained without a plan, which would take most of a step here, and its held-out quality.

The loss, the revival of unused codes and the learner's defaults are those of the recipe `one_d_piece`.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from oneloop.core import draws
from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.decoder import Decoder
from oneloop.models.image_tokenizer.one_d_piece import OneDPiece
from oneloop.models.image_tokenizer.quality import psnr
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer
from oneloop.sample.data.digits import load, rows_of
from oneloop.sample.plan.draw.progress_chances import ProgressChances
from oneloop.sample.plan.draw.uniform import Uniform

PEOPLE = {
    "man",
    "woman",
    "men",
    "women",
    "male",
    "female",
    "person",
    "people",
    "boy",
    "girl",
    "facing",
    "right",
}
"""Words by which the names of twins differ: who is shown, and mirrored or not."""
FOLDER = "ONELOOP_EMOJI"
FETCH = "npm pack emoji-datasource-twitter@15.1.2 && tar xzf emoji-datasource-twitter-15.1.2.tgz"
"""The variable that names the folder of emoji, and how it is got."""
REVIVE_EVERY, REVIVE_UNTIL = 20, 0.7
"""Steps after which codes that no image used move, and the share of the steps up to which: the policy's."""
LOOK_EVERY = 8
"""Steps between two looks at the losses, for a law that follows progress."""


@dataclass(frozen=True)
class Setting:
    """A data set and the tokenizer that is trained on it."""

    name: str
    model: OneDPiece
    images: Callable[[], tuple[Tensor, Tensor]]
    """(train, test) [., C, H, W]."""
    steps: int
    """Of an arm in all."""
    lengths: tuple[int, ...]
    """Lengths that are measured."""
    shrunk: int
    """Size to which pictures are scaled before ordinary files are written of them."""
    batch: int = 64
    """Images of a step."""

    @property
    def half(self) -> tuple[int, ...]:
        """Measured lengths up to half of all tokens."""
        return tuple(length for length in self.lengths if 2 * length <= self.model.tokens)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits."""
    images = torch.from_numpy(load()[0])
    return images[rows_of("train")], images[rows_of("test")]


@cache
def emoji() -> tuple[Tensor, Tensor]:
    """Twemoji at 32x32 on white; 15 of 100 names, `PEOPLE` left out, are held out with all their variants.

    Raises FileNotFoundError where $ONELOOP_EMOJI is not the unpacked package.
    """
    folder = Path(os.environ.get(FOLDER, "package"))
    if not (folder / "emoji.json").is_file():
        raise FileNotFoundError(f"{FOLDER}: '{folder}' holds no emoji.json; {FETCH}")
    found: dict[str, list[Path]] = {}
    for entry in json.loads((folder / "emoji.json").read_text()):
        words = entry["name"].lower().replace(":", " ").replace(",", " ").split()
        name = " ".join(word for word in words if word not in PEOPLE)
        files = [entry, *entry.get("skin_variations", {}).values()]
        paths = [folder / "img" / "twitter" / "64" / each["image"] for each in files]
        found.setdefault(name, []).extend(path for path in paths if path.exists())
    held_out = {name for name in found if draws.uniforms(draws.mix("emoji", name), 0) < 0.15}
    sides = [
        [_on_white(path) for name in sorted(found) if (name in held_out) == test for path in found[name]]
        for test in (False, True)
    ]
    return torch.stack(sides[0]), torch.stack(sides[1])


def _on_white(path: Path) -> Tensor:
    with Image.open(path) as image:
        above = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    small = flat.resize((32, 32), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).permute(2, 0, 1)


DIGITS = Setting(
    "digits",
    OneDPiece(hidden_size=64, layers=2, codebook_size=256),
    digits,
    1000,
    (1, 2, 4, 8),
    4,
)
"""As the recipe has it."""
EMOJI = Setting(
    "emoji",
    OneDPiece(image_size=32, channels=3, patch=8, tokens=16, codebook_size=512),
    emoji,
    1500,
    (1, 2, 4, 8, 16),
    16,
)


@dataclass(frozen=True)
class Lengths:
    """How many codes the decoder sees in training."""

    budgets: tuple[int, ...]
    """Numbers of codes that may be drawn."""
    draw: Any = Uniform()
    """How likely each is: a part of slot `draw`."""
    weighted: bool = False
    """Whether an image's squared error counts in proportion to its length, instead of alike."""
    told: bool = False
    """Whether the decoder is told the length, by an embedding of its own."""


class ToldDecoder(Decoder):
    """A decoder whose patches also ask by how many codes there are."""

    def __init__(self, config: TokenizerConfig):
        super().__init__(config)
        self.length = nn.Embedding(config.tokens, config.hidden_size)
        nn.init.zeros_(self.length.weight)

    def queries(self, codes: Tensor, there: Tensor | None) -> Tensor:
        """See `Decoder.queries`."""
        count = codes.new_full((len(codes),), codes.shape[1]) if there is None else there.sum(1)
        length: Tensor = self.length(count.long() - 1)
        return super().queries(codes, there) + length[:, None]


def trained(setting: Setting, lengths: Lengths, rate: float, seed: int, steps: int) -> OneDTokenizer:
    """A tokenizer whose decoder saw as many codes as `lengths` says."""
    tokenizer, images = replace(setting.model, seed=seed).build(), setting.images()[0]
    if lengths.told:
        told = ToldDecoder(tokenizer.config)
        told.load_state_dict(tokenizer.decoder.state_dict(), strict=False)
        tokenizer.decoder = told
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    plan, chances = schedule(optimizer, steps), lengths.draw.chances(lengths.budgets)
    budgets, mean = torch.tensor(lengths.budgets), sum(lengths.budgets) / len(lengths.budgets)
    used, latest = torch.zeros(setting.model.codebook_size, dtype=torch.long), list[Tensor]()
    heard = np.zeros((2, len(budgets)))
    for step in range(steps):
        numbers = step * setting.batch + np.arange(setting.batch)
        chance = torch.from_numpy(draws.uniforms(draws.mix(seed, "batch"), numbers))
        place = chances.draw(draws.mix(seed, "length"), numbers)
        shown, kept = images[(chance * len(images)).long()], budgets[torch.from_numpy(place)]
        vectors = tokenizer.vectors(shown)
        found = tokenizer.quantize(vectors)
        error = (tokenizer.render(found.codes, kept) - shown).square().mean((1, 2, 3))
        weight = kept / mean if lengths.weighted else torch.ones(len(kept))
        optimizer.zero_grad()
        ((error * weight).mean() + found.loss.mean()).backward()
        torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        plan.step()
        if isinstance(chances, ProgressChances):
            look(chances, heard, place, error.detach().double().numpy(), step)
        used += found.indices.flatten().bincount(minlength=len(used))
        latest.append(F.normalize(vectors.detach().flatten(0, 1), dim=-1))
        if (step + 1) % REVIVE_EVERY == 0:
            if step < REVIVE_UNTIL * steps:
                revive(tokenizer, used, torch.cat(latest[::-1]), seed, step)
            used.zero_()
            latest.clear()
    return tokenizer.eval()


def schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The recipe's: at most 50 updates of warm-up, then a cosine to zero."""
    warm = max(1, min(50, steps // 4))
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warm, total_iters=warm)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warm)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [warm])


def look(chances: ProgressChances, heard: Any, place: Any, error: Any, step: int) -> None:
    """Adds `error` [b] of lengths `place` [b] to `heard` [2, K], sums and counts, and looks now and then."""
    np.add.at(heard[0], place, error)
    np.add.at(heard[1], place, 1)
    if (step + 1) % LOOK_EVERY == 0:
        measured = heard[1] > 0
        chances.observe(heard[0] / np.maximum(heard[1], 1), heard[1], measured)
        heard[:] = 0


def revive(tokenizer: OneDTokenizer, used: Tensor, vectors: Tensor, seed: int, step: int) -> None:
    """Moves codes that no image used onto the latest vectors, as the policy does."""
    order = draws.uniforms(draws.mix(seed, "revive", step), np.arange(len(vectors))).argsort(kind="stable")
    tokenizer.quantize.revive(used, vectors, torch.from_numpy(order))


@torch.no_grad()
def decoded(setting: Setting, tokenizer: OneDTokenizer, lengths: Sequence[int]) -> dict[int, float]:
    """{length: mean PSNR of held-out images}."""
    images = setting.images()[1]
    indices = tokenizer.encode(images)
    return {k: float(psnr(tokenizer.decode(indices, k), images).mean()) for k in lengths}
