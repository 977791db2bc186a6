"""The claim at one budget: arms, their learning rates, and what is measured of each."""

from collections.abc import Callable

import torch

from benchmarks.claims.claim import Arm, Claim, Fraction, Row, Rows
from benchmarks.claims.shiftnas.network import search_space
from benchmarks.claims.shiftnas.training import (
    ARMS,
    LAW_RATES,
    Setting,
    digits,
    errors,
    networks_by_bin,
    train,
)

NETWORKS = 8
"""Architectures of a bin whose errors are averaged."""
RATES = (4e-3, 8e-3, 1.6e-2, 3.2e-2)
TARGET = 1.4


def measured(budget: float) -> Callable[[str, float, int], Row]:
    """Training of one arm at `budget`, as a claim's `train`."""

    @torch.no_grad()
    def run(arm: str, rate: float, seed: int) -> Row:
        data = digits(seed)
        made = train(Setting(arm, budget, rate, LAW_RATES.get(arm, 0.0)), data, seed)
        networks = networks_by_bin(search_space(), NETWORKS, seed)
        wrong = errors(made.network, data.test, networks)
        row = {
            "worst bin's error": wrong.max().item(),
            "mean error": wrong.mean().item(),
            "worst bin's validation error": errors(made.network, data.validation, networks).max().item(),
            "work": made.spent,
            "steps": float(made.steps),
            "looks": float(made.looks),
        }
        row |= {f"error in bin {place}": error for place, error in enumerate(wrong.tolist(), 1)}
        for quarter in (1, 2, 3, 4) if made.laws else ():
            law = min(made.laws, key=lambda seen: abs(seen[0] - quarter / 4))[1]
            row |= {f"law at {quarter}/4, bin {place}": chance for place, chance in enumerate(law, 1)}
        return row

    return run


def headline(rows: Rows) -> Fraction:
    """The worst bin's error when operations are drawn one by one, over that of a uniform draw of the bin."""
    return rows["per operation"]["worst bin's error"], rows["per bin"]["worst bin's error"]


def claim(budget: float, **more: object) -> Claim:
    """The claim at `budget` multiply-adds per image of a step."""
    return Claim(
        paper="arXiv 2307.08300",
        parts=("progress",),
        recipe="docs/supernet.md",
        says="ImageNet, 1.3 GFLOPs: 76.0 % against 74.7 of AutoFormer; one seed, training not at equal cost",
        claim=(
            f"trained with {budget:g} multiply-adds, a supernet whose bins of cost are drawn uniformly "
            "has at most 1/1.4 of the worst bin's error of one whose operations are drawn uniformly"
        ),
        target=TARGET,
        headline=headline,
        arms=tuple(Arm(arm, RATES) for arm in ARMS),
        train=measured(budget),
        score=lambda row: -row["worst bin's validation error"],
        work="charged multiply-adds of training for one image of each step, looks at validation included",
        **more,  # type: ignore[arg-type]
    )
