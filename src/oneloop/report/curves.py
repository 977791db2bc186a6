"""Which curves a report shows, from which metrics, and what each one is for."""

import re
from dataclasses import dataclass

from oneloop.measure.statistics.scores import Measure, interval, measures, value
from oneloop.report.doctor import Thresholds, forecast
from oneloop.report.run_directory import Record, RunDirectory, finite

Point = tuple[float, float]

COLOURS = ("one", "two", "three", "four")


@dataclass(frozen=True)
class Curve:
    """One curve: (step, value) points, oldest first. `bars` are (low, high) per point, `marks` why."""

    name: str
    colour: str
    points: list[Point]
    bars: list[Point] | None = None
    marks: list[str] | None = None


@dataclass(frozen=True)
class Panel:
    """One chart. `levels` are dashed horizontal lines with their label."""

    key: str
    title: str
    about: str
    lines: list[Curve]
    percent: bool = False
    stacked: bool = False
    levels: tuple[tuple[float, str], ...] = ()


def panels(run: RunDirectory) -> tuple[list[Panel], list[str]]:
    """(panels with data, titles of those the run measured nothing for), in reading order."""
    every = [
        *(_held_out(run, measure) for measure in measures(run.evals) or ["accuracy"]),
        _reward(run),
        _from_metrics(
            run,
            "length",
            "Completion length",
            "Tokens a rollout.",
            {"mean": "completions/mean_length", "longest": "completions/max_length"},
        ),
        _no_signal(run),
        _from_metrics(
            run,
            "entropy",
            "Entropy",
            "Nats a token: how much the policy still explores.",
            {"entropy": "entropy"},
        ),
        _from_metrics(
            run, "kl", "KL to the reference", "Nats a token: how far the policy has moved.", {"KL": "kl"}
        ),
        _gap(run),
        *_leftovers(run),
        *_drawn(run),
        _from_metrics(
            run, "loss", "Loss", "Near 0 by construction in policy-gradient phases.", {"loss": "loss"}
        ),
        _time(run),
    ]
    return [p for p in every if any(line.points for line in p.lines)], [
        p.title for p in every if not any(line.points for line in p.lines)
    ]


def _points(steps: list[Record], name: str) -> list[Point]:
    return [(float(row["step"]), value) for row in steps if (value := finite(row, name)) is not None]


def _at(steps: list[Record], values: list[float]) -> list[Point]:
    return [(float(row["step"]), value) for row, value in zip(steps, values, strict=True)]


def _from_metrics(run: RunDirectory, key: str, title: str, about: str, names: dict[str, str]) -> Panel:
    """One line per metric, coloured in order; metrics the run did not measure are left out."""
    lines = [
        Curve(shown, colour, _points(run.steps, metric))
        for (shown, metric), colour in zip(names.items(), COLOURS, strict=False)
    ]
    return Panel(key, title, about, [line for line in lines if line.points])


def _reward(run: RunDirectory) -> Panel:
    found = (re.fullmatch(r"rewards/(.+)/mean", name) for row in run.steps for name in row)
    judges = list(dict.fromkeys(match[1] for match in found if match))
    names = {"reward": "reward"}
    if len(judges) > 1:
        names |= {judge: f"rewards/{judge}/mean" for judge in judges[: len(COLOURS) - 1]}
    return _from_metrics(run, "reward", "Reward", "Mean over the judged rollouts of a step.", names)


def _held_out(run: RunDirectory, measure: Measure) -> Panel:
    lines = []
    for mode, colour in zip(dict.fromkeys(row.get("mode", "") for row in run.evals), COLOURS, strict=False):
        rows = [row for row in run.evals if row.get("mode", "") == mode and value(row, measure) is not None]
        points = [(eval_step(row, run), float(row[measure])) for row in rows]
        # where no interval was measured the bar is the point itself
        bars = [interval(row, measure) or (row[measure], row[measure]) for row in rows]
        lines.append(Curve(mode or measure, colour, points, bars, [row["when"] for row in rows]))
    lines = [line for line in lines if line.points]
    levels = tuple((line.points[0][1], f"{line.name} before") for line in lines[:2])
    about = "With intervals; dashed: the model the run started from."
    key = "accuracy" if measure == "accuracy" else "held_out_reward"
    return Panel(key, f"Held-out {measure}", about, lines, percent=measure == "accuracy", levels=levels)


def eval_step(row: Record, run: RunDirectory) -> float:
    """Where an evaluation belongs on the step axis: its step, else an end of its phase."""
    if row.get("step") is not None:
        return float(row["step"])
    spans = {name: (first - 1, last) for name, first, last in run.phases}
    first, last = spans.get(row["phase"], (0, 0))
    return float(first if row["when"] == "before" else last)


def _no_signal(run: RunDirectory) -> Panel:
    expected: list[Point] = []
    for row in run.steps:
        value = finite(row, "frac_zero_forecast")
        rate, size = finite(row, "correct"), finite(row, "group_size")
        if value is None and rate is not None and size is not None and size >= 1 and 0 <= rate <= 1:
            value = forecast(rate, size)
        if value is not None:
            expected.append((float(row["step"]), value))
    lines = [
        Curve("measured", "one", _points(run.steps, "frac_reward_zero_std")),
        Curve("forecast", "two", expected),
    ]
    return Panel(
        "no_signal",
        "Groups without signal",
        "All rollouts of the group earned the same reward. Forecast: p^G + (1-p)^G.",
        [line for line in lines if line.points],
        percent=True,
    )


def _gap(run: RunDirectory) -> Panel:
    names = {"mean": "sampling/logprob_gap_mean", "largest": "sampling/logprob_gap_max"}
    panel = _from_metrics(
        run, "gap", "Log-prob gap", "Sampler against learner, nats a token; should be near 0.", names
    )
    largest = max((value for line in panel.lines for _, value in line.points), default=0.0)
    warn = Thresholds().gap_warn
    levels = ((warn, f"{warn:g}: problem"),) if largest > warn / 4 else ()
    return Panel(panel.key, panel.title, panel.about, panel.lines, levels=levels)


def _drawn(run: RunDirectory) -> list[Panel]:
    """Panels of laws of draws that follow progress: how likely each thing is, of many only a few."""
    found = (re.fullmatch(r"draw/(.+)/p_(.+)", name) for row in run.steps for name in row)
    laws: dict[str, dict[str, None]] = {}
    for match in found:
        if match:
            laws.setdefault(match[1], {})[match[2]] = None
    made = []
    for name, labels in laws.items():
        some = list(labels)[:: -(-len(labels) // len(COLOURS))]
        lines = {label: f"draw/{name}/p_{label}" for label in some}
        made.append(
            _from_metrics(run, f"draw-{name}", f"Law of draws: {name}", "Probability of each.", lines)
        )
    return made


def _leftovers(run: RunDirectory) -> list[Panel]:
    """Panels of rollouts that outlive a weight update, for runs that have such."""
    held = _from_metrics(
        run,
        "held",
        "Tokens held",
        "Sampled and not yet trained: unfinished, waiting for siblings, or ready.",
        {"all": "held/tokens", "unfinished": "held/unfinished_tokens"},
    )
    return [panel for panel in (_staleness(run), held) if any(line.points for line in panel.lines)]


def _staleness(run: RunDirectory) -> Panel:
    """Trained tokens by age; empty for a run that has trained no old one."""
    rows = [row for row in run.steps if finite(row, "staleness/carried_ratio") is not None]
    if not any(row["staleness/carried_ratio"] for row in rows):
        rows = []
    lines = []
    rest = [row["staleness/carried_ratio"] for row in rows]
    for lag, colour in enumerate(COLOURS[:-1], start=1):
        shares = [finite(row, f"staleness/lag_{lag}") or 0.0 for row in rows]
        rest = [max(0.0, left - share) for left, share in zip(rest, shares, strict=True)]
        lines.append(Curve(f"{lag} behind", colour, _at(rows, shares)))
    lines.append(Curve("more", COLOURS[-1], _at(rows, rest)))
    return Panel(
        "staleness",
        "Tokens of older weights",
        "Share of the trained tokens, by how many updates ago they were sampled.",
        lines,
        percent=True,
        stacked=True,
    )


def _time(run: RunDirectory) -> Panel:
    stages = {"sample": "sample_time", "judge": "judge_time", "update": "update_time"}
    rows = [row for row in run.steps if finite(row, "step_time") is not None]
    parts = {
        shown: [(row["step"], finite(row, name) or 0.0) for row in rows] for shown, name in stages.items()
    }
    parts["other"] = [
        (row["step"], max(0.0, row["step_time"] - sum(finite(row, name) or 0.0 for name in stages.values())))
        for row in rows
    ]
    lines = [Curve(name, colour, parts[name]) for name, colour in zip(parts, COLOURS, strict=True)]
    return Panel(
        "time", "Step time", "Seconds, by stage.", [line for line in lines if line.points], stacked=True
    )
