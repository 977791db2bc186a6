"""One-D-Piece: dropping tails while training makes short prefixes decode, at a price for whole lists.

Two tokenizers of one size learn from the same images in the same order for as many steps: one by Tail Token
Drop, one whose decoder always sees all tokens (an ordinary tokenizer). Both are measured on held-out images
at every length by PSNR; so are specialists that were trained at one length, PCA with as many real numbers,
the mean image, and image files with their container apart. Headline: dB by which the dropped one is better,
the mean over lengths up to half of all tokens. The price at full length stands beside it.

Digits are scikit-learn's, 8x8, every fifth held out. Emoji are Twemoji at 32x32 (CC-BY 4.0), split by name
without skin tone and gender, so that no twin of a training image is tested:

    npm pack emoji-datasource-twitter@15.1.2 && tar xzf emoji-datasource-twitter-15.1.2.tgz
    ONELOOP_EMOJI=package python -m benchmarks.claims one_d_piece --seeds 5

Without ONELOOP_EMOJI only the digits are measured. A quick look, which is no claim and is not recorded:

    python -m benchmarks.claims.one_d_piece --quick
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from torch import Tensor

from benchmarks.claims.claim import Advance, Claim, Rows
from oneloop.core import draws
from oneloop.loop import Loop
from oneloop.models.image_tokenizer.contribution import token_contribution
from oneloop.models.image_tokenizer.one_d_piece import OneDPiece
from oneloop.models.image_tokenizer.quality import psnr
from oneloop.models.image_tokenizer.rate_distortion import RateDistortion, rate_distortion
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer
from oneloop.sample.data.digits import load, rows_of
from oneloop.sample.data.rows import Rows as DataRows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.draw_budget import DrawBudget
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.image_tokenizer import ImageTokenizer
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.reconstruction import Reconstruction

TARGET = 2.0
GENDERED = ("man ", "woman ", "men ", "women ", " man", " woman", " men", " women", "male ", "female ")


@dataclass(frozen=True)
class Setting:
    """A data set and the tokenizer that is trained on it."""

    name: str
    model: OneDPiece
    images: Callable[[], tuple[Tensor, Tensor]]
    """(train, test) [., C, H, W]."""
    steps: int
    lengths: tuple[int, ...]
    """Lengths that are measured."""
    specialists: tuple[int, ...]
    """Lengths at which a tokenizer of its own is trained."""
    shrunk: int
    """Size to which pictures are scaled before ordinary files are written of them."""


@cache
def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits."""
    images = torch.from_numpy(load()[0])
    return images[rows_of("train")], images[rows_of("test")]


@cache
def emoji() -> tuple[Tensor, Tensor]:
    """Twemoji at 32x32 on white; 15 of 100 names are held out, with all their variants."""
    folder = Path(os.environ["ONELOOP_EMOJI"])
    found: dict[str, list[Path]] = {}
    for entry in json.loads((folder / "emoji.json").read_text()):
        name = entry["name"].lower()
        for word in GENDERED:
            name = name.replace(word, " ")
        files = [entry, *entry.get("skin_variations", {}).values()]
        paths = [folder / "img" / "twitter" / "64" / each["image"] for each in files]
        found.setdefault(" ".join(name.split()), []).extend(path for path in paths if path.exists())
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


DIGITS = Setting("digits", OneDPiece(), digits, 1500, (1, 2, 3, 4, 6, 8), (2,), 4)
EMOJI = Setting(
    "emoji",
    OneDPiece(image_size=32, channels=3, patch=8, tokens=16, codebook_size=512),
    emoji,
    3000,
    (1, 2, 4, 8, 12, 16),
    (4,),
    16,
)


def trained(setting: Setting, least: int, most: int, seed: int) -> OneDTokenizer:
    """A tokenizer whose decoder saw `least` to `most` tokens in training; prints nothing."""
    policy = ImageTokenizer(model=replace(setting.model, seed=seed), device="cpu").open()
    rows = [{"prompt": "", "image": image.numpy()} for image in setting.images()[0]]
    drop = DrawBudget(least=least, most=most, each="rollout")
    plan = Plan(data=DataRows(rows=rows), groups=64, count=Uniform(n=1), dress=(drop,))
    plan.begin(seed=seed, steps=setting.steps)
    learning = Learning(learning_rate=2e-3, warmup=50, schedule="cosine")
    learner = Learner(policy, [Reconstruction()], learning, setting.steps)
    for _ in Loop(plan, policy.demonstrate, None, [], learner).run(setting.steps):
        pass
    return policy.model.eval()


@torch.no_grad()
def measured(setting: Setting, tokenizer: OneDTokenizer) -> dict[str, float]:
    """Mean held-out PSNR at each length, how contributions fall by token, the share of the first half."""
    images = setting.images()[1]
    indices = tokenizer.encode(images)
    found = {f"dB at {k}": float(psnr(tokenizer.decode(indices, k), images).mean()) for k in setting.lengths}
    shares = token_contribution(tokenizer, images[:256]).double()
    found["contribution, rank correlation"] = float(spearmanr(np.arange(len(shares)), shares).statistic)
    found["contribution, first half"] = float(shares[: len(shares) // 2].sum() / shares.sum())
    return found


def simple(setting: Setting) -> dict[str, dict[str, float]]:
    """The mean of the training images, and PCA with as many real numbers as there are tokens."""
    train, test = setting.images()
    flat, wanted = train.flatten(1).numpy(), test.flatten(1).numpy()
    mean = torch.as_tensor(np.broadcast_to(flat.mean(0), wanted.shape).copy())
    rows: dict[str, dict[str, float]] = {"mean image": {}, "PCA, real numbers": {}}
    for k in setting.lengths:
        pca = PCA(k, random_state=0).fit(flat)
        back = torch.as_tensor(pca.inverse_transform(pca.transform(wanted)).clip(0, 1))
        for name, made in (("mean image", mean), ("PCA, real numbers", back)):
            rows[name][f"dB at {k}"] = float(psnr(made, torch.as_tensor(wanted)).mean())
    return rows


def files(setting: Setting, found: RateDistortion) -> dict[str, dict[str, float]]:
    """Image files at their coarsest, as they are and shrunk, and our own with one header for all images."""
    rows = {
        f"{point.codec}, {point.setting}": {
            "file bytes": point.file_bytes,
            "payload bytes": point.payload_bytes,
            "dB": point.psnr,
        }
        for point in found.codecs
        if "shrunk" in point.setting or point.setting in ("quality 0", "quality 1", "rate 60")
    }
    for point in found.tokens:
        if point.length in setting.lengths:
            rows[f"tokens, first {point.length}"] = {
                "file bytes": point.shared_bytes,
                "payload bytes": point.payload_bytes,
                "dB": point.quality,
            }
    return rows


def compared(setting: Setting, seed: int, advance: Advance) -> dict[str, dict[str, float]]:
    """The table of one setting and seed."""
    whole = setting.model.tokens
    dropped = trained(setting, 1, whole, seed)
    advance(f"{setting.name}, seed {seed}: tails dropped")
    ordinary = trained(setting, whole, whole, seed)
    advance(f"{setting.name}, seed {seed}: nothing dropped")
    rows = {"tails dropped": measured(setting, dropped), "nothing dropped": measured(setting, ordinary)}
    for length in setting.specialists:
        rows[f"trained at {length}"] = measured(setting, trained(setting, length, length, seed))
        advance(f"{setting.name}, seed {seed}: trained at {length}")
    columns = [f"dB at {k}" for k in setting.lengths]
    rows["gain"] = {name: rows["tails dropped"][name] - rows["nothing dropped"][name] for name in columns}
    rows["gain"]["dB, up to half"] = float(
        np.mean([rows["gain"][f"dB at {k}"] for k in setting.lengths if 2 * k <= whole])
    )
    curves = rate_distortion(dropped, setting.images()[1], shrunk=(setting.shrunk,))
    return {**rows, **simple(setting), **files(setting, curves)}


def run(seed: int, advance: Advance) -> Rows:
    """The table of one seed: digits, and emoji where they were fetched."""
    settings = [DIGITS, EMOJI] if "ONELOOP_EMOJI" in os.environ else [DIGITS]
    return {
        f"{setting.name}: {name}": columns
        for setting in settings
        for name, columns in compared(setting, seed, advance).items()
    }


def headline(rows: Rows) -> float:
    """dB gained at lengths up to half; the lower of both data sets."""
    return min(columns["dB, up to half"] for name, columns in rows.items() if name.endswith(": gain"))


CLAIM = Claim(
    paper="arXiv 2501.10064",
    parts=("image_tokenizer", "one_d_piece", "draw_budget", "reconstruction"),
    recipe="one_d_piece",
    says="at few tokens far better than a tokenizer that is merely cut short; some loss at the full length",
    claim=f"dropping tails in training gains {TARGET:g} dB at prefixes up to half of an image's tokens",
    target=TARGET,
    run=run,
    headline=headline,
    units=3 + 3 * ("ONELOOP_EMOJI" in os.environ),
)


def quick(steps: int = 300) -> Rows:
    """Digits, one seed, few steps: whether the effect is there at all."""
    setting = replace(DIGITS, steps=steps, specialists=())
    return compared(setting, 0, lambda what: print(what, flush=True))


if __name__ == "__main__":
    if sys.argv[1:] != ["--quick"]:
        sys.exit("usage: python -m benchmarks.claims.one_d_piece --quick (the claim: -m benchmarks.claims)")
    print(json.dumps(quick(), indent=1))
