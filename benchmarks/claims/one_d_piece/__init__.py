"""One-D-Piece: dropping tails while training makes short prefixes decode, at a price for whole lists.

Tokenizers of one size learn from the same images, each arm with as many steps in all, and decode held-out
images with their first K codes. `half`: the mean PSNR at the measured lengths up to half of all tokens.

    tails dropped           K uniform from 1 to N in training: Tail Token Drop, the claim
    nothing dropped         the decoder always sees all N: an ordinary tokenizer, which is cut when measured
    nothing dropped, whole  the same, with the learning rate that is best for all N tokens: the price
    one for each length     a tokenizer for each measured length, which share the steps between them

All but the third are tuned by `half`. Also: the mean image, PCA with as many real numbers as there are
codes, and image files with their container apart. Headline: dB at `half` by which `tails dropped` is ahead
of `nothing dropped`.

Digits are scikit-learn's, 8x8, every fifth held out; one_d_piece_emoji measures the same on emoji.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.one_d_piece.training import DIGITS, Lengths, Setting, decoded, trained
from oneloop.models.image_tokenizer.codecs import codec_points
from oneloop.models.image_tokenizer.contribution import token_contribution
from oneloop.models.image_tokenizer.packing import packed_size
from oneloop.models.image_tokenizer.quality import psnr
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer

TARGET = 2.0


def columns(setting: Setting, quality: Mapping[int, float], steps: int) -> Row:
    """What is reported of PSNR at each length."""
    found = {f"{setting.name}, dB at {k}": each for k, each in quality.items()}
    half = float(np.mean([quality[k] for k in setting.half]))
    return found | {f"{setting.name}, half": half, "work": float(steps * setting.batch)}


def measured(setting: Setting, lengths: Lengths, rate: float, seed: int) -> Row:
    """One tokenizer whose decoder saw as many codes as `lengths` says."""
    made = trained(setting, lengths, rate, seed, setting.steps)
    return {
        **columns(setting, decoded(setting, made, setting.lengths), setting.steps),
        **shape(setting, made),
    }


@cache
def whole(setting: Setting, rate: float, seed: int) -> Row:
    """An ordinary tokenizer; the arm that is tuned by all N tokens is trained but once."""
    return measured(setting, Lengths((setting.model.tokens,)), rate, seed)


def apart(setting: Setting, rate: float, seed: int) -> Row:
    """A tokenizer for each measured length, with as many steps together as an arm has."""
    share, quality = setting.steps // len(setting.lengths), dict[int, float]()
    for length in setting.lengths:
        quality |= decoded(setting, trained(setting, Lengths((length,)), rate, seed, share), (length,))
    return columns(setting, quality, share * len(setting.lengths))


def every(setting: Setting) -> Lengths:
    """All numbers of codes, each as likely: Tail Token Drop."""
    return Lengths(tuple(range(1, setting.model.tokens + 1)))


def shape(setting: Setting, tokenizer: OneDTokenizer) -> Row:
    """Rank correlation of what a token contributes with its place: -1 is each less than the one before."""
    shares = token_contribution(tokenizer, setting.images()[1][:256]).double()
    return {
        f"{setting.name}, rank of contribution": float(spearmanr(np.arange(len(shares)), shares).statistic)
    }


def train(setting: Setting, arm: str, rate: float, seed: int) -> Row:
    """An arm's columns; `score`: what its rate is chosen by."""
    if arm == "one for each length":
        row = apart(setting, rate, seed)
    elif arm == "tails dropped":
        row = measured(setting, every(setting), rate, seed)
    else:
        row = whole(setting, rate, seed)
    chosen_by = f"dB at {setting.model.tokens}" if arm == PRICE else "half"
    return {**row, "score": row[f"{setting.name}, {chosen_by}"]}


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
            rows[name][f"{setting.name}, dB at {k}"] = float(psnr(made, torch.as_tensor(wanted)).mean())
    return rows


def files(setting: Setting) -> dict[str, dict[str, float]]:
    """Image files at their coarsest, as they are and shrunk, and the bytes of a whole list of codes."""
    rows = {
        f"{setting.name}: {point.codec}, {point.setting}": {
            "file bytes": point.file_bytes,
            "payload bytes": point.payload_bytes,
            "dB": point.psnr,
        }
        for point in codec_points(setting.images()[1], (), (setting.shrunk,))
        if "shrunk" in point.setting or point.setting in ("quality 0", "quality 1", "rate 60")
    }
    config = setting.model.config()
    for k in setting.lengths:
        payload = packed_size(k, config.bits)
        rows[f"{setting.name}: first {k} codes"] = {"payload bytes": float(payload)}
    return rows


def run(setting: Setting, seed: int, advance: Advance) -> Rows:
    """What has no setting: simple baselines and files."""
    rows = {**simple(setting), **files(setting)}
    advance(f"seed {seed}: files")
    return rows


def headline(setting: Setting, rows: Rows) -> float:
    """dB gained at lengths up to half."""
    half = f"{setting.name}, half"
    return rows["tails dropped"][half] - rows["nothing dropped"][half]


PRICE = "nothing dropped, whole"
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
ARMS = ("tails dropped", "nothing dropped", PRICE, "one for each length")


def measures(setting: Setting, arms: Sequence[str] = ARMS) -> dict[str, Any]:
    """The fields of a claim that compute, on `setting`."""
    return {
        "arms": tuple(Arm(name, RATES) for name in arms),
        "train": partial(train, setting),
        "score": score,
        "run": partial(run, setting),
        "headline": partial(headline, setting),
        "work": "images learned from",
        "units": 1,
    }


def score(row: Row) -> float:
    """What an arm's rate is chosen by."""
    return row["score"]


CLAIM = Claim(
    paper="arXiv 2501.10064",
    parts=("image_tokenizer", "one_d_piece", "draw_budget", "reconstruction"),
    recipe="one_d_piece",
    says="at few tokens far better than a tokenizer that is merely cut short; some loss at the full length",
    claim=f"dropping tails in training gains {TARGET:g} dB at prefixes up to half of an image's tokens",
    target=TARGET,
    found="at its own best rate an ordinary tokenizer is 3.2 dB ahead with all tokens",
    **measures(DIGITS),
)
