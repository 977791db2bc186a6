"""The head of the report: how held-out scores changed in each phase, and what that cost."""

from dataclasses import dataclass

from oneloop.measure.statistics.scores import Measure, interval, measures, value, written
from oneloop.report.run_directory import Record, RunDirectory, finite


@dataclass(frozen=True)
class Comparison:
    """A held-out score before and after a phase, in one mode, with intervals."""

    phase: str
    mode: str
    before: Record
    after: Record
    measure: Measure = "accuracy"

    @property
    def ends(self) -> tuple[float, float]:
        """The score before and after."""
        return float(self.before[self.measure]), float(self.after[self.measure])

    @property
    def change(self) -> float:
        """After minus before; of accuracy in percentage points."""
        before, after = self.ends
        return (100 if self.measure == "accuracy" else 1) * (after - before)

    @property
    def moved(self) -> str:
        """The change as text, with its sign."""
        size = (
            f"{abs(self.change):.1f}" if self.measure == "accuracy" else written(abs(self.change), "reward")
        )
        return ("\u2212" if self.change < 0 else "+") + size

    @property
    def clear(self) -> bool:
        """Whether the two intervals stand apart; False also where one was not measured."""
        spans = [interval(row, self.measure) for row in (self.before, self.after)]
        low, high = spans if self.change > 0 else reversed(spans)
        return low is not None and high is not None and low[1] < high[0]


def comparisons(run: RunDirectory) -> list[Comparison]:
    """One per measure, phase and mode evaluated after it; a phase starts where the last one ended."""
    return [each for measure in measures(run.evals) for each in _comparisons(run, measure)]


def _comparisons(run: RunDirectory, measure: Measure) -> list[Comparison]:
    found: list[Comparison] = []
    latest: dict[str, Record] = {}
    started: dict[tuple[str, str], Record] = {}
    for row in run.evals:
        if value(row, measure) is None:
            continue
        mode, phase = str(row.get("mode", "")), str(row["phase"])
        if row["when"] == "before" or ((phase, mode) not in started and mode in latest):
            started[phase, mode] = row if row["when"] == "before" else latest[mode]
        if row["when"] == "after" and (phase, mode) in started:
            found.append(Comparison(phase, mode, started[phase, mode], row, measure))
        latest[mode] = row
    return found


def by_measure(found: list[Comparison]) -> list[tuple[Measure, list[Comparison]]]:
    """The comparisons of each measure, in the order found."""
    kinds = dict.fromkeys(c.measure for c in found)
    return [(kind, [c for c in found if c.measure == kind]) for kind in kinds]


def sentence(found: list[Comparison]) -> str:
    """The run in one sentence: its last phase, in the mode the policy is trained in (sampled) if measured."""
    if not found:
        return "This run has no held-out score before and after a phase."
    alike = [c for c in found if c.measure == found[0].measure]
    last = [c for c in alike if c.phase == alike[-1].phase]
    best = next((c for c in last if c.mode == "sampled"), last[0])
    mode = f"{best.mode} " if best.mode else ""
    moved = "rose" if best.change > 0 else "fell" if best.change < 0 else "stayed"
    before, after = (shown(end, best.measure) for end in best.ends)
    text = f"Held-out {mode}{best.measure} {moved} from {before} to {after} in phase {best.phase}"
    return f"{text}." if best.clear else f"{text}; the intervals overlap, so this may be chance."


def shown(value: float, measure: str) -> str:
    """A share as a percentage with one decimal; a reward with three digits."""
    return written(value, measure).replace(" %", "%").replace("-", "\u2212")


def tick(value: float, measure: str) -> str:
    """A label of the axis: 50% of accuracy, 0.48 of reward."""
    return f"{100 * value:g}%" if measure == "accuracy" else shown(value, measure)


def axis(found: list[Comparison], measure: str) -> tuple[float, float]:
    """(left, right) of the axis on which comparisons of `measure` are drawn: 0 to 1 for accuracy."""
    if measure == "accuracy":
        return 0.0, 1.0
    same = [c for c in found if c.measure == measure]
    values = [end for c in same for end in c.ends]
    values += [end for c in same for row in (c.before, c.after) for end in interval(row, measure) or ()]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def facts(run: RunDirectory, rollouts: int) -> list[tuple[str, str]]:
    """(name, value) of what the run took; what was not measured is left out."""
    rows: list[tuple[str, str | None]] = [
        ("steps", f"{len(run.steps):,}"),
        ("wall time", duration(_largest(run, "time"))),
        ("tokens sampled", _count(_largest(run, "num_tokens"))),
        ("tokens trained", _count(_largest(run, "trained_tokens"))),
        ("rollouts shown", f"{rollouts:,}" if rollouts else None),
    ]
    return [(name, value) for name, value in rows if value]


def _largest(run: RunDirectory, name: str) -> float | None:
    values = [value for row in [*run.steps, run.summary] if (value := finite(row, name)) is not None]
    return max(values, default=None)


def _count(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value:,.0f}"


def duration(seconds: float | None) -> str | None:
    """Seconds as 42 s, 3 min 20 s or 2 h 05 min."""
    if seconds is None:
        return None
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
