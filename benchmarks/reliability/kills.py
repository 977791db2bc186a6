"""Runs killed with SIGKILL at random moments and resumed, over every recipe that ships.

A run is killed several times, at a random time or at a random operation on its files, then resumed to its
end: metrics, weights, optimiser, rollouts and every other file must equal those of the run left alone.
    python -m benchmarks.reliability.kills [--tries 500] [--seed 0] [--recipes NAME ...]
"""

import random
import sys
from pathlib import Path

from benchmarks.reliability import forks
from benchmarks.reliability.outcome import broken, differences, leftovers, lost_and_doubled, outcome, rollouts
from benchmarks.reliability.trials import Runs, Trials, Whole, script

MOST = 12
"""Most kills of one run."""
KINDS = (
    "runs",
    "ended first",
    "lost",
    "doubled",
    "different",
    "broken files",
    "left files",
    "left processes",
)
KINDS += ("tracebacks", "failed")


def one(trials: Trials, runs: Runs, draw: random.Random) -> None:
    """Kills a run several times and compares what it ends with."""
    whole, directory = runs.draw(draw), runs.directory
    trials.counts["runs"] += 1
    moments = list[str]()
    for _ in range(min(draw.randint(1, MOST), trials.tries - trials.done)):
        if not killed(trials, whole, directory, draw, moments):
            break
    ended = forks.run(directory.parent, "train", whole.recipe, "--run", directory, "--resume")
    where = f"{whole.name} killed {', '.join(moments)}"
    compare(trials, whole, directory, ended, where)


def killed(trials: Trials, whole: Whole, directory: Path, draw: random.Random, moments: list[str]) -> bool:
    """Goes on with the run and kills it; whether it could be killed before its end."""
    words = ("train", whole.recipe, "--run", directory, "--resume")
    if draw.random() < 0.4:
        seconds = draw.uniform(0.05, 0.9) * whole.seconds
        child = forks.start(forks.command(*words), directory.parent)
        ended = child.ended(seconds)
        moments.append(f"after {seconds:.2f} s")
    else:
        event = draw.randint(1, whole.events)
        hook = forks.kill_at(event, directory)
        ended = forks.start(forks.command(*words), directory.parent, "", hook).ended()
        moments.append(f"at file event {event}")
    where = f"{whole.name} {', '.join(moments)}"
    trials.fault("left processes", f"{where}: {ended.left}", len(ended.left))
    if ended.code != -9:
        trials.counts["ended first"] += 1
        if ended.code != 0:
            trials.fault("failed", f"{where}: exit {ended.code}, {ended.err[-600:]}")
        moments[-1] += " (ended first)"
        return False
    said = broken(directory)
    trials.fault("broken files", f"{where}: {said}", len(said))
    trials.tried()
    return True


def compare(trials: Trials, whole: Whole, directory: Path, ended: forks.Ended, where: str) -> None:
    """Counts every way in which the resumed run is not the run left alone."""
    trials.fault("left processes", f"{where}: {ended.left}", len(ended.left))
    if ended.traceback:
        trials.fault("tracebacks", f"{where}: {ended.err[-1500:]}")
    if ended.code != 0:
        return trials.fault("failed", f"{where}: exit {ended.code}, {ended.err[-600:]}")
    lost, doubled = lost_and_doubled(whole.rollouts, rollouts(directory))
    trials.fault("lost", f"{where}: {lost} rollouts", lost)
    trials.fault("doubled", f"{where}: {doubled} rollouts", doubled)
    said, left = differences(whole.result, outcome(directory)), leftovers(directory)
    trials.fault("different", f"{where}: {said}", int(bool(said)))
    trials.fault("left files", f"{where}: {left}", len(left))


if __name__ == "__main__":
    sys.exit(script("kills", __doc__ or "", 500, KINDS, one))
