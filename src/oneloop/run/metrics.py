"""Metrics of one step, under TRL's names. Pure functions of the batch; no state, no trackers."""

import math
from typing import Any

import torch
from torch import Tensor

from oneloop.core import segments
from oneloop.core.columns import declarations
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.run.logged import logged_means
from oneloop.run.win_rates import win_rates

LAGS = 8
"""Ages with a metric of their own; the last one also counts all older tokens."""


def batch_metrics(batch: Rollouts) -> dict[str, float]:
    """Metrics of a batch after the update on it; a metric that has no value in it is left out."""
    numbers: dict[str, float | Tensor] = {"rollouts": len(batch), **_lengths(batch)}
    if "reward" in batch:
        numbers |= _rewards(batch)
    numbers |= _actions(batch) | win_rates(batch) | batch.facts.get("select_metrics", {})
    return {name: float(value) for name, value in numbers.items() if math.isfinite(float(value))}


def _lengths(batch: Rollouts) -> dict[str, float | Tensor]:
    length = batch.length.double()
    cut = torch.tensor([status == "length" for status in batch.status], dtype=torch.float64)
    if "budget" in batch:  # who is given a budget is meant to end there
        cut *= batch.budget < 0
    return {
        "completions/mean_length": length.mean(),
        "completions/max_length": length.max(),
        "completions/clipped_ratio": cut.mean(),
        "group_size": len(batch) / len(batch.group.unique()),
    }


def _rewards(batch: Rollouts) -> dict[str, float | Tensor]:
    reward, group = batch.reward.double(), segments.labels(batch.group)
    first = first_of_each(group)
    judged = segments.count(reward, group) > 0
    dead = segments.constant(reward, group)
    spread = segments.deviation(reward, group)
    numbers: dict[str, float | Tensor] = {"reward": reward.nanmean()}
    if "advantage" in batch.actions or len(first) < len(batch):  # groups of one are compared with nobody
        numbers["reward_std"] = spread[first][judged[first]].mean()
        numbers["frac_reward_zero_std"] = dead[first][judged[first]].double().mean()
    for name in [name for name in batch if name.startswith("reward.")]:
        values = batch[name].double()
        judge = name.removeprefix("reward.")
        numbers[f"rewards/{judge}/mean"] = values.nanmean()
        known = values[~values.isnan()]
        numbers[f"rewards/{judge}/std"] = known.std() if len(known) > 1 else math.nan
        numbers[f"judge/{judge}/none"] = values.isnan().sum()
        if f"error.{judge}" in batch:
            errors = sum(error is not None for error in batch[f"error.{judge}"])
            numbers[f"judge/{judge}/none"] -= errors
            numbers["judge/errors"] = numbers.get("judge/errors", 0) + errors
        if f"valid.{judge}" in batch:
            numbers[f"judge/{judge}/critique_valid_rate"] = batch[f"valid.{judge}"].nanmean()
            numbers[f"judge/{judge}/cost"] = batch[f"cost.{judge}"].sum()
    numbers |= batch.facts.get("judge_metrics", {}) | logged_means(batch)
    if "correct" in batch:
        correct = batch.correct.double()
        if "seeded" in batch:  # an answer after solved examples is no answer to the question alone
            numbers |= _seeding(batch)
            correct = torch.where(batch["seeded"] > 0, torch.nan, correct)
        rate, size = segments.mean(correct, group)[first], group.bincount()
        numbers["correct"] = correct.nanmean()
        # a group's own rate in place of its prompt's would bias the forecast: pool the prompts
        numbers["frac_zero_forecast"] = (rate.nanmean() ** size + (1 - rate.nanmean()) ** size).mean()
    return numbers


def _seeding(batch: Rollouts) -> dict[str, float | Tensor]:
    """Groups whose plain rollouts all failed: how many, how many of them got examples, and the share of these
    with a success.
    """
    group, seeded = segments.labels(batch.group), batch["seeded"] > 0
    first, correct = first_of_each(group), batch.correct.double()
    plain = segments.extremes(torch.where(seeded, torch.nan, correct), group)[1][first]
    helped = segments.extremes(torch.where(seeded, correct, torch.nan), group)[1][first]
    given = segments.total(seeded.double(), group)[first] > 0
    return {
        "seeding/failed_groups": (plain == 0).sum(),
        "seeding/seeded_groups": given.sum(),
        "seeding/correct": correct[seeded].nanmean(),
        "seeding/solved_groups": (helped[given] == 1).double().mean(),
    }


def first_of_each(labels: Tensor) -> Tensor:
    """int64 [G], the first place of each of the dense `labels` [v]."""
    places = torch.full((int(labels.max()) + 1,), len(labels))
    return places.scatter_reduce(0, labels, torch.arange(len(labels)), "amin")


def _actions(batch: Rollouts) -> dict[str, float | Tensor]:
    actions = batch.actions
    kept = actions.share > 0
    numbers: dict[str, float | Tensor] = {"step_tokens": len(actions), "kept_tokens": kept.sum()}
    for name, column in declarations(Actions).items():
        if column.mean and name in actions:
            numbers[column.mean] = actions[name].double()[kept].nanmean()
        if column.last_mean and f"{name}_last" in actions:  # there were several passes over the batch
            numbers[column.last_mean] = actions[f"{name}_last"].double()[kept].nanmean()
        if column.largest and len(known := _known(actions, f"{name}_high", name)):
            numbers[column.largest] = known.max()
        if column.smallest and len(known := _known(actions, f"{name}_low", name)):
            numbers[column.smallest] = known.min()
    if "ratio" in actions:
        ratio = actions["ratio_last" if "ratio_last" in actions else "ratio"]
        numbers["effective_sample_size"] = effective_share(ratio[kept])
    return numbers | _staleness(batch)


def _known(actions: Actions, *columns: str) -> Tensor:
    """The values of the first of `columns` that there is, NaN left out; empty when there is none."""
    for column in columns:
        if column in actions:
            values: Tensor = actions[column]
            return values[~values.isnan()]
    return torch.empty(0)


def _staleness(batch: Rollouts) -> dict[str, float | Tensor]:
    """Age of the sampled actions: how many versions they are behind the weights that the batch trains.

    `staleness/lag_K` is the share of age K; an age that does not occur is left out.
    """
    version = batch.actions.version if "version" in batch.actions else torch.empty(0, dtype=torch.long)
    version = version[version >= 0]
    if not len(version):
        return {}
    age = batch.facts.get("version", int(version.max())) - version
    counts = age.clamp(max=LAGS).bincount()
    lags = {f"staleness/lag_{lag}": counts[lag] / len(age) for lag in counts.nonzero().squeeze(1).tolist()}
    carried = (age > 0).double().mean()
    return {
        "staleness/mean": age.double().mean(),
        "staleness/max": age.max(),
        "staleness/carried_ratio": carried,
        **lags,
    }


def effective_share(ratio: Tensor) -> float:
    """Effective sample size (Kish) of importance weights [a], as a share of a; 1 when all are alike.

    NaN weights are left out; NaN when there is none.
    """
    weight = ratio[~ratio.isnan()].double()
    squares = float(weight.square().sum())
    return float(weight.sum()) ** 2 / squares / len(weight) if squares else math.nan


def json_safe(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without floats that JSON cannot hold (NaN, infinity)."""
    return {k: v for k, v in values.items() if not (isinstance(v, float) and not math.isfinite(v))}
