"""Two processes on one directory at the same time: one writes, the other is refused in a sentence.

Both start a run, or both resume one that was killed; in one try of four the one that writes is killed and the
run resumed. What the directory ends with equals the run left alone.
    python -m benchmarks.reliability.two_processes [--tries 40] [--seed 0] [--recipes NAME ...]
"""

import random
import sys
import time

from benchmarks.reliability import forks
from benchmarks.reliability.kills import KINDS as OF_KILLS
from benchmarks.reliability.kills import compare
from benchmarks.reliability.trials import Runs, Trials, script

KINDS = (*OF_KILLS, "both wrote", "none wrote", "refused in words", "one after the other")


def one(trials: Trials, runs: Runs, draw: random.Random) -> None:
    """Starts two processes, perhaps on a run that was killed."""
    whole, directory = runs.draw(draw), runs.directory
    words: tuple[object, ...] = ("train", whole.recipe, "--run", directory)
    resumes = draw.random() < 0.6
    if resumes:
        words = (*words, "--resume")
        forks.start(forks.command(*words), directory.parent).ended(draw.uniform(0.2, 0.9) * whole.seconds)
    children, gap = [], draw.choice([0.0, draw.uniform(0.0, 0.2), draw.uniform(0.0, whole.seconds)])
    for number in range(2):
        children.append(forks.start(forks.command(*words), directory.parent, str(number)))
        time.sleep(gap if number == 0 else 0)
    killed = draw.random() < 0.25
    if killed:
        time.sleep(draw.uniform(0.1, 0.9) * whole.seconds)
        children[0].kill(9)
    ended = [child.ended(grace=False) for child in children]
    where = f"{whole.name}{' resumed' if resumes else ''} gap {gap:.2f} s{' killed' if killed else ''}"
    left = forks.outliving()
    trials.fault("left processes", f"{where}: {left}", len(left))
    judge(trials, ended, where, resumes)
    if not resumes:
        words = (*words, "--resume")
    compare(trials, whole, directory, forks.run(directory.parent, *words), where)
    trials.tried()


def judge(trials: Trials, ended: list[forks.Ended], where: str, resumes: bool) -> None:
    """Counts who wrote and who was refused."""
    codes = [each.code for each in ended]
    for each in ended:
        if each.traceback:
            trials.fault("tracebacks", f"{where}: {each.err[-1500:]}")
        elif each.code == 2 and (
            "is being written by another run" in each.err or "holds a run already" in each.err
        ):
            trials.counts["refused in words"] += 1
        elif each.code not in (0, -9):
            trials.fault("failed", f"{where}: exit {each.code}, {each.err[-600:]}")
    if codes == [2, 2]:
        trials.fault("none wrote", f"{where}: {[each.err[-300:] for each in ended]}")
    if codes == [0, 0]:
        if resumes:  # the second came when the first had ended, and had nothing left to do
            trials.counts["one after the other"] += 1
        else:
            trials.fault("both wrote", where)


if __name__ == "__main__":
    sys.exit(script("two_processes", __doc__ or "", 40, KINDS, one))
