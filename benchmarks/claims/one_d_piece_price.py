"""One-D-Piece: whether the price of dropped tails, decibels with all tokens, can be lowered.

A tokenizer whose tails are dropped in training decodes any prefix, and is worse with all N tokens than an
ordinary one: late tokens are seen, and learn, seldom. Four ways to let them learn more, one an arm:

    tails dropped       K uniform from 1 to N: Tail Token Drop as published
    nothing dropped     the decoder always sees all N: what the price is measured from
    powers of two       K is 1, 2, 4, ... N, each as often
    learning progress   K as often as its error still falls (the law `progress`)
    weighted by length  K uniform, and an image's squared error counts in proportion to K
    told the length     K uniform, and the decoder's patches are told K by an embedding

Digits as in one_d_piece, each arm at its own best learning rate, the ordinary tokenizer's by what it reaches
with all N tokens, the others' by the mean of that and of `half`, the mean PSNR at lengths up to half of all.
Headline: what powers of two gain with all N tokens, less what they lose at `half`, over the price.
"""

from benchmarks.claims.claim import Arm, Claim, Fraction, Row, Rows
from benchmarks.claims.one_d_piece import RATES, every, measured
from benchmarks.claims.one_d_piece.training import DIGITS, Lengths, Setting
from oneloop.sample.plan.draw.powers_of_two import PowersOfTwo
from oneloop.sample.plan.draw.progress import Progress

WHOLE, DROPPED, POWERS = "nothing dropped", "tails dropped", "powers of two"
TARGET = 0.5


def arms(setting: Setting) -> dict[str, Lengths]:
    """What the decoder sees in training, by arm."""
    budgets = every(setting).budgets
    return {
        DROPPED: every(setting),
        WHOLE: Lengths(budgets[-1:]),
        POWERS: Lengths(budgets, PowersOfTwo()),
        "learning progress": Lengths(budgets, Progress()),
        "weighted by length": Lengths(budgets, weighted=True),
        "told the length": Lengths(budgets, told=True),
    }


def train(arm: str, rate: float, seed: int) -> Row:
    """An arm's columns; `score`: what its rate is chosen by."""
    row = measured(DIGITS, arms(DIGITS)[arm], rate, seed)
    full, half = row[_full(DIGITS)], row[_half(DIGITS)]
    return {**row, "score": full if arm == WHOLE else (full + half) / 2}


def _full(setting: Setting) -> str:
    return f"{setting.name}, dB at {setting.model.tokens}"


def _half(setting: Setting) -> str:
    return f"{setting.name}, half"


def headline(rows: Rows) -> Fraction:
    """Decibels won back by powers of two, and the price."""
    full, half = _full(DIGITS), _half(DIGITS)
    won = rows[POWERS][full] - rows[DROPPED][full]
    lost = max(0.0, rows[DROPPED][half] - rows[POWERS][half])
    return won - lost, rows[WHOLE][full] - rows[DROPPED][full]


CLAIM = Claim(
    paper="arXiv 2501.10064",
    parts=("image_tokenizer", "one_d_piece", "draw_budget", "powers_of_two", "progress"),
    recipe="one_d_piece",
    says="reconstruction with all tokens is preserved",
    claim=f"drawing 1, 2, 4, ... N tokens takes back {TARGET:g} of the price at no loss at prefixes",
    target=TARGET,
    found="weighting errors by the length takes back a quarter, at .45 dB less at prefixes; progress a tenth",
    arms=tuple(Arm(name, RATES) for name in arms(DIGITS)),
    train=train,
    score=lambda row: row["score"],
    headline=headline,
    work="images learned from",
)
