"""The first things a reader wants to know: how accuracy moved in each phase, and what that took."""

from dataclasses import dataclass

from oneloop.report.run_directory import Record, Run, finite


@dataclass(frozen=True)
class Comparison:
    """Held-out accuracy before and after a phase, in one mode, with intervals (all shares, 0..1)."""

    phase: str
    mode: str
    before: Record
    after: Record

    @property
    def change(self) -> float:
        """After minus before, in percentage points."""
        return 100 * float(self.after["accuracy"] - self.before["accuracy"])

    @property
    def clear(self) -> bool:
        """Whether the two intervals stand apart; False also where one was not measured."""
        lows, highs = (
            (_ends(self.before), _ends(self.after))
            if self.change > 0
            else (_ends(self.after), _ends(self.before))
        )
        return lows[1] < highs[0]


def _ends(row: Record) -> tuple[float, float]:
    low, high = finite(row, "low"), finite(row, "high")
    return 0.0 if low is None else low, 1.0 if high is None else high


def comparisons(run: Run) -> list[Comparison]:
    """One per phase and mode that was evaluated after it; a phase starts where the last one ended."""
    found: list[Comparison] = []
    latest: dict[str, Record] = {}
    started: dict[tuple[str, str], Record] = {}
    for row in run.evals:
        if finite(row, "accuracy") is None:
            continue
        mode, phase = str(row.get("mode", "")), str(row["phase"])
        if row["when"] == "before" or ((phase, mode) not in started and mode in latest):
            started[phase, mode] = row if row["when"] == "before" else latest[mode]
        if row["when"] == "after" and (phase, mode) in started:
            found.append(Comparison(phase, mode, started[phase, mode], row))
        latest[mode] = row
    return found


def sentence(found: list[Comparison]) -> str:
    """The run in one sentence: its last phase, in the mode the policy is trained in (sampled) if measured."""
    if not found:
        return "This run has no held-out accuracy before and after a phase."
    last = [c for c in found if c.phase == found[-1].phase]
    best = next((c for c in last if c.mode == "sampled"), last[0])
    mode = f"{best.mode} " if best.mode else ""
    moved = "rose" if best.change > 0 else "fell" if best.change < 0 else "stayed"
    text = (
        f"Held-out {mode}accuracy {moved} from {share(best.before['accuracy'])} to "
        f"{share(best.after['accuracy'])} in phase {best.phase}"
    )
    return f"{text}." if best.clear else f"{text}; the intervals overlap, so this may be chance."


def share(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}%"


def facts(run: Run, rollouts: int) -> list[tuple[str, str]]:
    """(name, value) of what the run took; what was not measured is left out."""
    rows: list[tuple[str, str | None]] = [
        ("steps", f"{len(run.steps):,}"),
        ("wall time", duration(_largest(run, "time"))),
        ("tokens sampled", _count(_largest(run, "num_tokens"))),
        ("tokens trained", _count(_largest(run, "trained_tokens"))),
        ("rollouts shown", f"{rollouts:,}" if rollouts else None),
    ]
    return [(name, value) for name, value in rows if value]


def _largest(run: Run, name: str) -> float | None:
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
