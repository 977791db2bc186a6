"""Claims there are: a paper's headline at CPU scale against tuned rivals, over several seeds, nulls included.

A claim is a file of `benchmarks/claims/` with a `CLAIM`. `running.run_claim` measures one and writes
`benchmarks/results/NAME.json`; this file lists them with what was last measured, and says what is stale. A
claim holds when the whole 95 % interval of its headline reaches the target (Student's t over seeds, so paired
where one seed's arms are compared).
"""

import importlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import code
from benchmarks.claims.claim import Claim

RESULTS = Path("benchmarks/results")
HARNESS = code.HARNESS
MEASURED: tuple[tuple[str, Any], ...] = (
    ("arms", []),
    ("tuned", False),
    ("work", None),
    ("measured", None),
    ("low", None),
    ("high", None),
    ("seeds", None),
    ("commit", None),
    ("date", None),
    ("hardware", None),
)
"""What is known of a claim once it was run, and what stands for it before."""


def names() -> list[str]:
    """Claims there are, by file."""
    package = importlib.import_module("benchmarks.claims")
    return sorted({module.name for module in pkgutil.iter_modules(package.__path__)} - HARNESS)


def find_claim(name: str) -> Claim:
    """The claim called `name`. Raises ValueError with those there are."""
    if name not in names():
        raise ValueError(f"no claim is called '{name}'; known: {', '.join(names())}")
    claim: Claim = importlib.import_module(f"benchmarks.claims.{name}").CLAIM
    return claim


def methods(results: Path = RESULTS) -> list[dict[str, Any]]:
    """One object a claim, with what was last measured (None where nothing is stored in `results`)."""
    found = []
    for name in names():
        claim, path = find_claim(name), results / f"{name}.json"
        stored = json.loads(path.read_text()) if path.is_file() else {}
        measured = {key: stored.get(key, default) for key, default in MEASURED}
        arms = told(claim, measured["arms"])
        stored |= {"arms": arms, "tuned": tuned(claim, arms)} if stored else {}
        known = {"state": state(claim, stored), "stale": stale(stored)}
        found.append(describe(name, claim) | measured | {"arms": arms, "tuned": tuned(claim, arms)} | known)
    return found


def told(claim: Claim, arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`arms` with what the claim says of those without a grid: '' where it says nothing."""
    return [{**arm, "at_best": claim.at_best.get(arm["name"], "")} for arm in arms]


def tuned(claim: Claim, arms: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every arm, the baselines too, was measured at its best setting.

    There are at least two arms, and each has tried smaller and larger values than the best of its grid, or
    has no grid and the claim says why it is at its best.
    """
    best = {arm["name"] for arm in arms if arm["interior"] and (arm["grid"] or arm["at_best"])}
    return len(claim.arms) > 1 and best == {arm.name for arm in claim.arms}


def describe(name: str, claim: Claim) -> dict[str, Any]:
    """What is known of a claim before it is run."""
    return {
        "name": name,
        "paper": claim.paper,
        "parts": list(claim.parts),
        "recipe": claim.recipe,
        "says": claim.says,
        "claim": claim.claim,
        "target": claim.target,
        "found": claim.found,
    }


def state(claim: Claim, stored: Mapping[str, Any]) -> str:
    """holds, holds only under a named regime, does not hold, or not measured.

    What was reached against a rival that was not tuned does not hold, whatever it was.
    """
    if stored.get("low") is None:
        return "not measured"
    if stored["low"] < claim.target or not stored.get("tuned"):
        return "does not hold"
    return f"holds only under {claim.only_under}" if claim.only_under else "holds"


def stale(stored: Mapping[str, Any]) -> bool | None:
    """Whether code that made the result says something else now; None where nothing is stored.

    A result that does not know its code is stale.
    """
    if not stored:
        return None
    return not stored.get("code") or bool(code.changed(stored["code"]))
