"""Runs stopped with SIGTERM or SIGINT at random moments and resumed, over every recipe that ships.

A stopped run exits with 143 or 130, says how to go on, writes its report and leaves whole checkpoints; what
it ends with after --resume equals the run left alone. One run in eight gets the signal twice.
    python -m benchmarks.reliability.signals [--tries 200] [--seed 0] [--recipes NAME ...]
"""

import random
import signal
import sys
import time
from pathlib import Path

from benchmarks.reliability import forks
from benchmarks.reliability.kills import KINDS as OF_KILLS
from benchmarks.reliability.kills import compare
from benchmarks.reliability.outcome import broken, leftovers
from benchmarks.reliability.trials import Runs, Trials, Whole, script

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
KINDS = (*OF_KILLS, "wrong exit code", "no report", "not said how to go on")


def one(trials: Trials, runs: Runs, draw: random.Random) -> None:
    """Stops a run a few times and compares what it ends with."""
    whole, directory = runs.draw(draw), runs.directory
    trials.counts["runs"] += 1
    moments = list[str]()
    for _ in range(min(draw.randint(1, 3), trials.tries - trials.done)):
        if not stopped(trials, whole, directory, draw, moments):
            break
    ended = forks.run(directory.parent, "train", whole.recipe, "--run", directory, "--resume")
    compare(trials, whole, directory, ended, f"{whole.name} stopped {', '.join(moments)}")


def stopped(trials: Trials, whole: Whole, directory: Path, draw: random.Random, moments: list[str]) -> bool:
    """Goes on with the run and stops it; whether it could be stopped before its end."""
    number, seconds = draw.choice(list(CODES)), draw.uniform(0.02, 0.8) * whole.seconds
    twice = draw.uniform(0.0, 0.3) if draw.random() < 1 / 8 else None
    words = ("train", whole.recipe, "--run", directory, "--resume")
    child = forks.start(forks.command(*words), directory.parent)
    time.sleep(seconds)
    child.kill(number)
    if twice is not None:
        time.sleep(twice)
        child.kill(number)
    ended = child.ended()
    moments.append(
        f"{signal.Signals(number).name} after {seconds:.2f} s{' twice' if twice is not None else ''}"
    )
    where = f"{whole.name} {', '.join(moments)}"
    trials.fault("left processes", f"{where}: {ended.left}", len(ended.left))
    if ended.traceback:
        trials.fault("tracebacks", f"{where}: {ended.err[-2500:]}")
    if ended.code == 0:
        trials.counts["ended first"] += 1
        moments[-1] += " (ended first)"
        return False
    if ended.code != CODES[number] and not (ended.code == -number and ended.out.endswith("report.html\n")):
        trials.fault("wrong exit code", f"{where}: {ended.code}: {ended.out[-300:]} {ended.err[-600:]}")
    began = "run directory: " in ended.out  # before that nothing was done that could be gone on with
    if began and twice is None and "To go on" not in ended.out:  # a second signal may cut the sentence
        trials.fault("not said how to go on", f"{where}: {ended.out[-300:]} {ended.err[-300:]}")
    measured = (directory / "metrics.jsonl").exists() and (directory / "metrics.jsonl").stat().st_size > 0
    if began and measured and twice is None and not (directory / "report.html").exists():
        trials.fault("no report", f"{where}: {ended.out[-300:]} {ended.err[-300:]}")
    said, left = broken(directory), leftovers(directory)
    trials.fault("broken files", f"{where}: {said}", len(said))
    trials.fault("left files", f"{where}: {left}", len(left))
    trials.tried()
    return True


if __name__ == "__main__":
    sys.exit(script("signals", __doc__ or "", 200, KINDS, one))
