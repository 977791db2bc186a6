"""One of two ranks killed with SIGKILL at random moments: the other ends, the run goes on on 1 or 2 ranks.

A run of two ranks (fsdp2 over gloo) is killed several times, at a random time or at a random operation on its
files, rank 0 or rank 1. The rank that is left must end by itself, in words, within SOON seconds; then the run
is resumed to its end, on one rank or on two, and compared with the run of one process that nobody killed: no
rollout lost or doubled, metrics equal to 1e-5, weights to FAR (Adam makes visible steps of gradients that are
rounding alone: see docs/devices.md).
    python -m benchmarks.reliability.rank_kills [--tries 200] [--seed 0] [--minutes M]
"""

import random
import shutil
import signal
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ranks
from benchmarks.reliability import forks
from benchmarks.reliability.outcome import broken, leftovers, lost_and_doubled, rollouts
from benchmarks.reliability.trials import Trials, options, workplace

MOST = 6
"""Most kills of one run."""
SOON = 15.0
"""Seconds in which a rank that is left must have ended."""
FAR = 1e-3
KINDS = (
    "runs",
    "rank 0 killed",
    "rank 1 killed",
    "ended first",
    "while ranks met",
    "resumed on 1",
    "resumed on 2",
)
KINDS += (
    "lost",
    "doubled",
    "different",
    "broken files",
    "left files",
    "left processes",
    "late",
    "tracebacks",
)
KINDS += ("failed",)


@dataclass
class Killed:
    """The runs that are killed, and what they should have been."""

    folder: Path
    recipe: Path
    rollouts: Counter[tuple[str, int]]
    seconds: float
    """What a run of two ranks takes."""
    ends: list[float]
    """Seconds until the other rank had ended."""

    @property
    def directory(self) -> Path:
        """Where the run of a try is."""
        return self.folder / "run"


def one(trials: Trials, runs: Killed, draw: random.Random) -> None:
    """Kills a run several times and compares what it ends with."""
    trials.counts["runs"] += 1
    moments: list[str] = []
    for _ in range(min(draw.randint(1, MOST), trials.tries - trials.done)):
        if trials.late() or not killed(trials, runs, draw, moments):
            break
    size = draw.choice([1, 2])
    trials.counts[f"resumed on {size}"] += 1
    where = f"killed {', '.join(moments)}, resumed on {size}"
    children = ranks.start(runs.folder, runs.recipe, "run", size, resume=True)
    ended = [child.ended(300.0, grace=False) for child in children]
    if any(each.code for each in ended):
        return trials.fault("failed", f"{where}: {[(each.code, each.err[-600:]) for each in ended]}")
    compare(trials, runs, where)


def killed(trials: Trials, runs: Killed, draw: random.Random, moments: list[str]) -> bool:
    """Goes on with the run on two ranks and kills one; whether that could be killed before its end."""
    victim = draw.randrange(2)
    event = draw.randint(1, 150) if victim == 0 and draw.random() < 0.4 else None
    after = 60.0 if event else draw.uniform(0.02, 0.95) * runs.seconds
    moments.append(f"rank {victim} {f'at file event {event}' if event else f'after {after:.2f} s'}")
    hooks = [forks.kill_at(event, runs.directory)] if event else []
    children = ranks.start(runs.folder, runs.recipe, "run", 2, resume=True, hooks=hooks)
    dead = children[victim].ended(after, grace=False)
    began = time.monotonic()
    left = children[1 - victim].ended(SOON, stop=signal.SIGTERM, grace=False)
    took, where = time.monotonic() - began, ", ".join(moments)
    trials.fault("left processes", where, len(forks.outliving()))
    if dead.code != -signal.SIGKILL:
        trials.counts["ended first"] += 1
        moments[-1] += " (ended first)"
        return False
    trials.counts[f"rank {victim} killed"] += 1
    if left.late and not ranks.met(runs.folder, 2):
        # the other one waits ten minutes for it, unless torchrun, which knows, sends this signal
        trials.counts["while ranks met"] += 1
    elif left.late:
        trials.fault("late", f"{where}: {left.err[-600:]}")
    else:
        runs.ends.append(took)
    if left.traceback:
        trials.fault("tracebacks", f"{where}: {left.err[-1500:]}")
    said = broken(runs.directory)
    trials.fault("broken files", f"{where}: {said}", len(said))
    trials.tried()
    return True


def compare(trials: Trials, runs: Killed, where: str) -> None:
    """Counts every way in which the resumed run is not the run left alone."""
    lost, doubled = lost_and_doubled(runs.rollouts, rollouts(runs.directory))
    trials.fault("lost", f"{where}: {lost} rollouts", lost)
    trials.fault("doubled", f"{where}: {doubled} rollouts", doubled)
    found = ranks.apart(runs.folder / "whole", runs.directory)
    differs = found["metrics"] > ranks.CLOSE or found["weights"] > FAR
    trials.fault("different", f"{where}: {found}", int(differs))
    left = leftovers(runs.directory)
    trials.fault("left files", f"{where}: {left}", len(left))


def prepared(folder: Path) -> Killed:
    """The run of one process, and how long one of two takes."""
    ranks.prepare(folder)
    recipe = ranks.write(folder, ranks.recipe("full", "fsdp2", 6), "killed")
    ranks.finished(ranks.start(folder, recipe, "whole", 1))
    began = time.monotonic()
    ranks.finished(ranks.start(folder, recipe, "two", 2))
    return Killed(folder, recipe, rollouts(folder / "whole"), time.monotonic() - began, [])


def main() -> int:
    """Makes the tries and writes the result; 1 where there are faults."""
    parser = options(__doc__ or "", 200)
    given = parser.parse_args()
    if given.recipes:
        parser.error("--recipes: the kills of ranks have a recipe of their own")
    draw = random.Random(given.seed)
    with workplace() as folder:
        trials = Trials(
            "rank_kills", given.tries, given.seed, given.minutes, given.results.resolve(), given.add
        )
        runs = prepared(folder)
        while trials.more():
            one(trials, runs, draw)
            shutil.rmtree(runs.directory, ignore_errors=True)
        if runs.ends:
            trials.counts["milliseconds to the end, median"] = round(1000 * statistics.median(runs.ends))
            trials.counts["milliseconds to the end, most"] = round(1000 * max(runs.ends))
        return trials.finish(KINDS)


if __name__ == "__main__":
    sys.exit(main())
