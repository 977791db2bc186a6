"""Samplers and judges of runs on a Ray cluster killed with SIGKILL at random moments: runs go on to the bit.

A run that samples one batch ahead, with two samplers and two judges as Ray workers, is left alone once. Then
it is made again and again while its workers are killed, at work, idle or just being started. Ray's cluster is
started once. Every run must end by itself with exactly what the run left alone wrote: no rollout lost or
doubled, no file different, and no process may be left of a worker that was killed. A run gives up when a
worker dies four times on one act; it is then resumed, and must end in the same way.
    python -m benchmarks.reliability.ray_kills [--tries 64] [--seed 0] [--minutes M] [--add]
"""

import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks import ranks
from benchmarks.reliability import forks
from benchmarks.reliability.clock import Clock
from benchmarks.reliability.outcome import (
    Outcome,
    broken,
    differences,
    leftovers,
    lost_and_doubled,
    outcome,
    rollouts,
)
from benchmarks.reliability.trials import Trials, Whole, options, workplace
from oneloop.judge.isolation import sandbox
from oneloop.parallel.runtime.cluster import WorkerDied
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run

MOST = 16
"""Most kills in a run."""
APART = 1.5
"""Most time between two kills, as a multiple of that in which MOST of them fit into the run left alone."""
STEPS = 120
ACTOR = "ray::Acting"
"""How Ray names the process of a worker; with the method it is at work on, if any."""
STARTS = ".__init__"
SHUT_IN = "oneloop.judge.isolation"
"""Found in the command line of a process in which a judge's function is shut in."""
GRACE = 10.0
"""Seconds, as Clock counts them, in which the processes of a worker that was killed must be gone."""
KINDS = ("runs", "killed at work", "killed idle", "killed while starting", "killed while a run ended")
KINDS += ("given up and resumed", "lost", "doubled", "different", "broken files", "left files")
KINDS += ("left processes", "failed")


def one(trials: Trials, whole: Whole, directory: Path, draw: random.Random) -> None:
    """A run in `directory` whose workers are killed, compared with the run left alone."""
    trials.counts["runs"] += 1
    over, seen = threading.Event(), list[str]()
    longest = APART * whole.seconds / MOST
    waits = [draw.uniform(0.0, longest) for _ in range(min(MOST, trials.tries - trials.done))]
    killer = threading.Thread(target=kill, args=(waits, over, seen, random.Random(draw.random())))
    killer.start()
    try:
        if not got_through(whole.recipe, directory):
            over.set()
            trials.counts["given up and resumed"] += 1
            run(whole.recipe, directory, resume=True)
    except Exception as error:
        trials.fault("failed", f"{type(error).__name__}: {error}")
    finally:
        ended = len(seen)
        over.set()
        killer.join()
    for number, state in enumerate(seen):
        trials.counts["killed while a run ended" if number >= ended else f"killed {state}"] += 1
        trials.tried()
    compare(trials, whole, directory, f"killed {', '.join(seen)}")


def kill(waits: list[float], over: threading.Event, seen: list[str], draw: random.Random) -> None:
    """Kills a worker after each of `waits` seconds, until the run is over; notes what each was doing."""
    for seconds in waits:
        if over.wait(seconds):
            return
        # a worker that dies a fourth time on one act ends the run, and says so
        spared = seen.count("while starting") >= 3
        while not (found := [each for each in workers() if not (spared and STARTS in named(each))]):
            if over.wait(0.05):
                return
        victim = draw.choice(found)
        with suppress(psutil.NoSuchProcess):
            name = named(victim)
            victim.send_signal(signal.SIGKILL)
            seen.append("while starting" if STARTS in name else "at work" if ".act" in name else "idle")


def workers() -> list[psutil.Process]:
    """Processes of the samplers and judges of this process's cluster."""
    return [each for each in children() if named(each).startswith(ACTOR)]


def shut_in() -> list[psutil.Process]:
    """Processes in which functions of judges are shut in, below this process or left by those below it."""
    return [each for each in children() if SHUT_IN in named(each)]


def children() -> list[psutil.Process]:
    """All processes below this one."""
    return psutil.Process().children(recursive=True)


def named(process: psutil.Process) -> str:
    """Its command line; "" of one that is gone."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def compare(trials: Trials, whole: Whole, directory: Path, where: str) -> None:
    """Counts every way in which the run in `directory` is not the run left alone."""
    lost, doubled = lost_and_doubled(whole.rollouts, rollouts(directory))
    trials.fault("lost", f"{where}: {lost} rollouts", lost)
    trials.fault("doubled", f"{where}: {doubled} rollouts", doubled)
    differs = differences(whole.result, written(directory))
    trials.fault("different", f"{where}: {differs}", len(differs))
    said = broken(directory)
    trials.fault("broken files", f"{where}: {said}", len(said))
    left = leftovers(directory)
    trials.fault("left files", f"{where}: {left}", len(left))
    close_own()
    alive = still_alive([*workers(), *shut_in()])
    trials.fault("left processes", f"{where}: {[named(each) for each in alive]}", len(alive))


def close_own() -> None:
    """Ends the processes of judges that this process has: the runs are made in it."""
    for each in sandbox._SHARED.values():
        each.close()


def still_alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are alive after the grace."""
    clock = Clock()
    while clock.seconds < GRACE and (processes := psutil.wait_procs(processes, timeout=0)[1]):
        clock.tick()
    return processes


def written(directory: Path) -> Outcome:
    """What a run wrote, without who waited for whom."""
    found = outcome(directory)
    found["metrics.jsonl"] = [
        {name: value for name, value in line.items() if not name.startswith(("runtime/", "wait_time"))}
        for line in found["metrics.jsonl"]
    ]
    return found


def got_through(recipe: Path, directory: Path) -> bool:
    """Whether a run of the recipe did not give up a worker."""
    try:
        run(recipe, directory)
    except WorkerDied as error:
        print(str(error).splitlines()[0], flush=True)
        return False
    return True


def run(recipe: Path, directory: Path, resume: bool = False) -> None:
    """A run of the recipe, or the rest of it, in this process."""
    Run(load_recipe(recipe)[0], directory, resume, Show(quiet=True)).train()


def recipe() -> dict[str, Any]:
    """GRPO of a tiny model, one batch ahead, its judge a function in processes of its own."""
    made = ranks.recipe("full", None, STEPS)
    made["phases"]["reinforce"]["judge"] = [
        {"function": {"path": "likeness.py:likeness"}},
        {"verifier": {"by": "exact"}},
    ]
    made["save_every"] = STEPS // 3
    made["runtime"] = {"ahead": 1, "backend": "ray", "samplers": 2, "judges": 2, "sampler_threads": 1}
    return made


def prepared(folder: Path) -> Whole:
    """The run left alone."""
    os.chdir(folder)
    file, directory = ranks.write(folder, recipe(), "killed"), folder / "whole"
    began = time.monotonic()
    run(file, directory)
    seconds = time.monotonic() - began
    return Whole("killed", file, directory, written(directory), rollouts(directory), seconds)


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster of this machine alone, below this process."""
    import ray

    # a machine that others keep busy starts Ray slowly
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_raylet_start_wait_time_s": "300"}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()


def main() -> int:
    """Makes the tries and writes the result; 1 where there are faults."""
    given = options(__doc__ or "", 64).parse_args()
    draw, results = random.Random(given.seed), given.results.resolve()
    forks.adopt()
    with workplace() as folder:
        trials = Trials("ray_kills", given.tries, given.seed, given.minutes, results, given.add)
        with cluster():
            whole = prepared(folder)
            print(f"a run left alone takes {whole.seconds:.1f} s", flush=True)
            while trials.more():
                one(trials, whole, folder / "run", draw)
                shutil.rmtree(folder / "run", ignore_errors=True)
        close_own()
        alive = still_alive(children())
        trials.fault("left processes", f"of the cluster: {[named(each) for each in alive]}", len(alive))
        return trials.finish(KINDS)


if __name__ == "__main__":
    sys.exit(main())
