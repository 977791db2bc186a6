"""Held-out accuracy of a policy, greedy and sampled, pass@k and maj@k, with intervals."""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from scipy.stats import norm

from oneloop.core import draws
from oneloop.core.declared import declared
from oneloop.core.protocols import Data, JudgeDefaults, Sampled, trait
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.judge.scorers import extracted
from oneloop.judge.stage import Judging, weight_of
from oneloop.measure.statistics.majority import majority_at_k
from oneloop.measure.statistics.paired import bootstrap_mean
from oneloop.measure.statistics.passk import unbiased_pass_at_k
from oneloop.measure.statistics.scores import ENDS
from oneloop.run.preflight import check_of
from oneloop.sample.data.checked import OnBadRow, bad_rows, told

Judge = Callable[[Rollouts], Rollouts]


def scorers(judges: Sequence[Judge]) -> list[Judge]:
    """The judges that an evaluation needs: a critic of weight 0 costs, and has no part in the score."""
    return [judge for judge in judges if weight_of(judge) or "correct" in declared(judge, "writes")]


def evaluate(
    policy: Any, judge: Judge, data: Data, size: int, samples: int, seed: int, mode: str
) -> dict[str, Any]:
    """What `measure` says of `answers` to the same request."""
    return measure(answered(policy, judge, data, size, samples, seed, mode), mode, pattern_of(judge))


def answered(
    policy: Any,
    judge: Judge,
    data: Data,
    size: int,
    samples: int,
    seed: int,
    mode: str,
    on_bad_row: OnBadRow = "stop",
    sample: Callable[[Rollouts], Sampled] | None = None,
    flops: int | None = None,
) -> Rollouts:
    """Judged rollouts of the first `size` rows of `data`: one greedy one each, or `samples` sampled ones.

    Sampling noise is a function of (seed, row, sample), so two models meet the same draws. `sample`: how rows
    are sampled, by the policy's own method without. `flops`: budget a token of an elastic policy; None: its
    whole model. Raises BadRows for a row that cannot be used, unless such rows are left out.
    """
    size = min(size, len(data))
    bad = bad_rows(data, range(size), check_of(policy, False))
    told(bad, size, on_bad_row)
    asked = held_out(data, size, 1 if mode == "greedy" else samples, seed, bad)
    if flops is not None:
        asked = asked.put(flops=torch.full((len(asked),), flops))
    with policy.greedy() if mode == "greedy" else nullcontext():
        finished, _ = (sample or policy.sample)(asked)
    return judge(finished)


def measure(judged: Rollouts, mode: str, extract: str | None = None) -> dict[str, Any]:
    """reward, reward_low, reward_high (mean, 95 % interval), n, samples, errors.

    Where a judge says correct also accuracy, low, high and, with several samples a row, `pass_at` and
    `maj_at`: {k: (mean, low, high)} for k = 1, 2, 4 ... and all samples, bootstrapped over rows. Rows weigh
    alike; what has no verdict is left out. `extract` finds the answer that is voted on (None: all of it).
    """
    reward = judged.reward.double()
    scored = judged.correct.double() if "correct" in judged else reward
    rows = per_row(scored, judged.key)
    found = {"mode": mode, "n": len(rows), "samples": len(scored), "errors": int(scored.isnan().sum())}
    found |= dict(zip(("reward", *ENDS["reward"]), interval(per_row(reward, judged.key)), strict=True))
    if "correct" not in judged:
        return found
    found |= dict(zip(("accuracy", *ENDS["accuracy"]), interval(rows), strict=True))
    return found | several(judged, extract)


def several(judged: Rollouts, extract: str | None) -> dict[str, Any]:
    """`pass_at` and, of texts, `maj_at`, as `measure` says; nothing where a row has one sample."""
    correct, keys = judged.correct.double(), judged.key
    known = ~correct.isnan()
    right, tried = per_key(correct, keys, known), per_key(torch.ones_like(correct), keys, known)
    right, tried = right[tried > 0], tried[tried > 0]
    least = int(tried.min()) if len(tried) else 0
    if least < 2:
        return {}
    counts = sorted({2**power for power in range(least.bit_length()) if 2**power <= least} | {least})
    pass_at = {str(k): bootstrap_mean(unbiased_pass_at_k(tried, right, k)) for k in counts}
    if "text" not in judged:
        return {"pass_at": pass_at}
    votes: dict[int, tuple[list[str | None], list[float]]] = {}
    for row in known.nonzero().squeeze(1).tolist():
        answers, values = votes.setdefault(int(keys[row]), ([], []))
        answers.append(extracted(judged.text[row], extract))
        values.append(float(correct[row]))
    maj_at = {str(k): bootstrap_mean([majority_at_k(*each, k) for each in votes.values()]) for k in counts}
    return {"pass_at": pass_at, "maj_at": maj_at}


def pattern_of(judge: Judge) -> str | None:
    """How the first judge that says correct finds the answer in a text; None: all of it is the answer."""
    judges = judge.judges if isinstance(judge, Judging) else [judge]
    found = (
        trait(each, JudgeDefaults, "extract") for each in judges if "correct" in declared(each, "writes")
    )
    return next(found, None)


def held_out(data: Data, size: int, samples: int, seed: int, without: Collection[int] = ()) -> Rollouts:
    """Requests for `samples` rollouts of each of the first `size` rows, but those `without`."""
    rows = {key: data[key] for key in range(size) if key not in without}
    keys = torch.tensor(list(rows), dtype=torch.long).repeat_interleave(samples)
    columns: dict[str, Any] = {
        "id": torch.arange(len(keys)),
        "group": keys,
        "key": keys,
        "example": [rows[key] for key in keys.tolist()],
        "context": [((0, rows[key]["prompt"]),) for key in keys.tolist()],
        "budget": torch.full((len(keys),), -1),
        "last": torch.full((len(keys),), -1),
        "status": ["pending"] * len(keys),
    }
    facts = {"seed": int(draws.mix(seed, "evaluate") >> 1), "step": 0, "progress": 0.0}
    return Rollouts(columns, Actions({"parent": torch.empty(0, dtype=torch.long)}), facts)


def per_row(values: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Mean over each data row's verdicts; rows without any are left out."""
    known = ~values.isnan()
    sums, counts = per_key(values, keys, known), per_key(torch.ones_like(values), keys, known)
    return sums[counts > 0] / counts[counts > 0]


def per_key(values: torch.Tensor, keys: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """float64 [largest key + 1], for each key the sum of its `values` where `known`."""
    sums = torch.zeros(int(keys.max()) + 1, dtype=torch.float64)
    return sums.index_add_(0, keys[known], values[known].double())


def interval(rows: torch.Tensor) -> tuple[float, float, float]:
    """(mean, low, high) at 95 %: Wilson for 0/1 rows, normal approximation over rows otherwise."""
    n = len(rows)
    if n == 0:
        return float("nan"), float("nan"), float("nan")
    z, mean = float(norm.ppf(0.975)), float(rows.mean())
    if bool(((rows == 0) | (rows == 1)).all()):
        middle = (mean + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * (mean * (1 - mean) / n + z * z / (4 * n * n)) ** 0.5
        return mean, max(middle - half, 0.0), min(middle + half, 1.0)
    half = z * float(rows.std()) / n**0.5 if n > 1 else float("nan")
    if bool(((rows >= 0) & (rows <= 1)).all()):  # several samples a row: shares, whose mean is a share
        return mean, max(mean - half, 0.0), min(mean + half, 1.0)
    return mean, mean - half, mean + half
