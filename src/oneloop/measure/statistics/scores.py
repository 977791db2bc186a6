"""What held-out evaluations measured, and how it is written: accuracy where a judge says correct, and reward.

An evaluation has `accuracy`, `low`, `high` where some judge says whether an answer is correct, and `reward`,
`reward_low`, `reward_high`. Accuracy is a share, 0 to 1; a reward has the scale of its judges.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Measure = Literal["accuracy", "reward"]
Line = Mapping[str, Any]
NEAR = 0.02
"""A reward this close to the accuracy says nothing more."""
ENDS = {"accuracy": ("low", "high"), "reward": ("reward_low", "reward_high")}


def measures(lines: Sequence[Line]) -> list[Measure]:
    """What is worth showing of some evaluations, the one that tells more first.

    Reward is left out where it is the accuracy, or nearly so (a little credit for a form that is right).
    Accuracy comes second where it stands still and reward moves.
    """
    accuracy, reward = ([value(line, kind) for line in lines] for kind in ("accuracy", "reward"))
    if not _known(accuracy):
        return ["reward"] if _known(reward) else []
    pairs = zip(accuracy, reward, strict=True)
    if all(abs(one - other) <= NEAR for one, other in pairs if one is not None and other is not None):
        return ["accuracy"]
    stands = len(set(_known(accuracy))) == 1 and len(set(_known(reward))) > 1
    return ["reward", "accuracy"] if stands else ["accuracy", "reward"]


def value(line: Line, measure: str) -> float | None:
    """The number; None where it was not measured, and for an accuracy that is no share."""
    found = line.get(measure)
    if not isinstance(found, int | float) or not math.isfinite(found):
        return None
    # runs of version 0.1 called the mean of any reward an accuracy
    return None if measure == "accuracy" and not 0 <= found <= 1 else float(found)


def interval(line: Line, measure: str) -> tuple[float, float] | None:
    """(low, high) at 95 %; None where it is not known."""
    low, high = (value(line, end) for end in ENDS[measure])
    return None if low is None or high is None else (low, high)


def written(number: float, measure: str) -> str:
    """81.2 % of an accuracy; 0.476, -3 or 30,000 of a reward."""
    if measure == "accuracy":
        return f"{100 * number:.1f} %"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def with_interval(line: Line, measure: str) -> str:
    """81.2 % (78.0 to 84.0), or 0.476 (0.4 to 0.51); "" where it was not measured."""
    number, ends = value(line, measure), interval(line, measure)
    if number is None:
        return ""
    inside = "" if ends is None else " to ".join(written(end, measure).removesuffix(" %") for end in ends)
    return written(number, measure) + (f" ({inside})" if inside else "")


def _known(values: Sequence[float | None]) -> list[float]:
    return [number for number in values if number is not None]
