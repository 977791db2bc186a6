"""Who waited for whom, from the metrics of steps."""

from types import SimpleNamespace

from oneloop.report.actors import Pace, StageShare, paces, stages


def run_of(*rows):
    return SimpleNamespace(steps=list(rows))


def row(phase, seconds, judge, waits, period):
    return {
        "phase": phase,
        "step_time": seconds,
        "runtime/busy/judge": judge,
        "runtime/busy/learn": 1 - waits,
        "runtime/waits/judge": waits,
        "runtime/period": period,
        "runtime/out": 2.0,
    }


def test_shares_are_weighted_by_the_length_of_steps():
    run = run_of(row("a", 1.0, 0.5, 0.25, 0.9), row("a", 3.0, 1.0, 0.75, 2.7))
    assert stages(run) == [
        StageShare("a", "judge", 3.5 / 4, 2.5 / 4),
        StageShare("a", "learn", 1.5 / 4, None),
    ]
    assert paces(run) == [Pace("a", 3.0, 2.7, 2.0)]


def test_phases_without_overlap_have_no_rows():
    assert stages(run_of({"phase": "warm", "step_time": 1.0})) == []
    assert paces(run_of({"phase": "warm", "step_time": 1.0})) == []
