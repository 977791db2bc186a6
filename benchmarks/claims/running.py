"""Runs a claim: chooses every arm's setting, trains every arm on every seed, writes what came out.

Each finished run is kept in `runs/claims/NAME/`: an interrupted claim resumes. Runs may go side by side.
"""

import datetime
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.claims import bases, code, intervals, registry, tuning
from benchmarks.claims.claim import Advance, Claim, Row, Rows
from oneloop.core import storage
from oneloop.core.orphans import end_with_parent
from oneloop.run.environment import hardware

FINISHED = Path("runs/claims")
Task = tuple[str, float, int]
"""Arm, value of what is tuned, seed; the arm '' stands for `Claim.run`, the rows without a setting."""
UNTUNED = ""


def _silent(what: str) -> None:
    """Progress that no one sees."""


def run_claim(
    name: str,
    seeds: int,
    out: Path = registry.RESULTS,
    finished: Path = FINISHED,
    workers: int = 1,
    resume: bool = False,
) -> dict[str, Any]:
    """Runs `seeds` (at least 2) seeds with a progress bar; writes and returns `out`/`name`.json.

    What ran is kept in `finished`/`name`; with `resume` what is there is not run again, which is right only
    while the code is the same. `workers`: runs that go at once, in processes.
    """
    claim, folder = registry.find_claim(name), finished / name
    if seeds < 2:
        raise ValueError(f"an interval needs at least 2 seeds, got {seeds}")
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        runs = Runs(name, claim, folder, workers, progress)
        choices = tuning.choose(claim.arms, runs.scores)
        made = runs.seeds(range(seeds), {arm: choice.chosen for arm, choice in choices.items()})
    result = summary(name, claim, made, choices) | {"code": code.digests(runs.ran)}
    storage.replace_file(out / f"{name}.json", json.dumps(result, indent=1) + "\n")
    return result


def confirm(name: str, stored: Path = registry.RESULTS) -> list[str]:
    """Runs seed 0 again at the settings chosen before; if it comes out as stored, the result is not stale.

    Where it does not, which may be the machine's doing, the code that made the result runs seed 0 here too;
    if both come out alike, the result is not stale either. Returns what came out otherwise ("row, column:
    was, is"); `stored`/`name`.json stays as it is then. Raises ValueError where nothing is stored. A claim
    that measures seconds cannot be confirmed, only run again.
    """
    path = stored / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"nothing is stored of '{name}'; run it: python -m benchmarks.claims {name}")
    known, ran = json.loads(path.read_text()), set[str]()
    with code.watched(ran):
        rows = run_quickly(name, stored)
    other = differences(known.get("first", {}), rows)
    if other and (commit := code.commit_of(known["code"])):
        other = differences(earlier(name, commit, known), rows)
    if not other and known.get("first"):
        known |= {"code": code.digests(ran), "commit": code.commit()}
        storage.replace_file(path, json.dumps(known, indent=1) + "\n")
    return other


def differences(was: Rows, rows: Rows) -> list[str]:
    """ "row, column: was, is" for each number of `was` that came out otherwise."""
    return [
        f"{row}, {column}: {value!r}, {rows.get(row, {}).get(column)!r}"
        for row, columns in was.items()
        for column, value in columns.items()
        if not math.isclose(value, rows.get(row, {}).get(column, math.nan), rel_tol=1e-6, abs_tol=1e-9)
    ]


def earlier(name: str, commit: str, known: Mapping[str, Any]) -> Rows:
    """Seed 0 of a claim by the code of `commit`, at the settings chosen in the result `known`."""
    with tempfile.TemporaryDirectory(prefix="oneloop_claim_") as place:
        tree = Path(place) / "tree"
        code.git("worktree", "add", "--detach", str(tree), commit)
        try:
            storage.replace_file(tree / registry.RESULTS / f"{name}.json", json.dumps(known))
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.claims", name, "--quick"],
                cwd=tree,
                env=os.environ | {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}"},
                stdout=subprocess.PIPE,
                check=True,
            )
        finally:
            code.git("worktree", "remove", "--force", str(tree))
    rows: Rows = json.loads(done.stdout)
    return rows


def run_quickly(name: str, stored: Path = registry.RESULTS) -> Rows:
    """One seed of every arm at the value chosen before, or in the middle of its grid; nothing is kept."""
    claim, path = registry.find_claim(name), stored / f"{name}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    chosen = {arm["name"]: arm["chosen"] for arm in known.get("arms", ()) if arm["chosen"] is not None}
    rows: dict[str, Row] = {}
    for arm in claim.arms:
        value = chosen.get(arm.name, arm.grid[len(arm.grid) // 2] if arm.grid else math.nan)
        rows.update(run_task(name, (arm.name, value, 0))[0])
    if claim.run:
        rows.update(run_task(name, (UNTUNED, math.nan, 0))[0])
    return rows


@dataclass
class Runs:
    """Runs of one claim: those on disk, and those that are run when asked for."""

    name: str
    claim: Claim
    folder: Path
    workers: int
    progress: Progress
    ran: set[str] = field(default_factory=set)
    """Files of the project that ran."""

    def scores(self, asked: Iterable[Task]) -> dict[Task, float]:
        """The score of every task."""
        done = self.rows(list(asked), "tuning")
        return {task: self.claim.score(rows[task[0]]) for task, rows in done.items()}  # type: ignore[misc]

    def seeds(self, seeds: Iterable[int], chosen: Mapping[str, float]) -> list[Rows]:
        """The table of every seed, each arm at its chosen value."""
        values = {arm.name: chosen.get(arm.name, math.nan) for arm in self.claim.arms}
        if self.claim.run:
            values[UNTUNED] = math.nan
        # an arm after the other, so that workers begin with different seeds, whose bases they teach once
        done = self.rows([(arm, value, seed) for arm, value in values.items() for seed in seeds], "measuring")
        made: dict[int, dict[str, Row]] = {}
        for (_, _, seed), rows in done.items():
            made.setdefault(seed, {}).update(rows)
        return [made[seed] for seed in sorted(made)]

    def rows(self, tasks: Sequence[Task], what: str) -> dict[Task, Rows]:
        """The rows of every task, in the order asked."""
        missing = [task for task in tasks if not self._file(task).exists()]
        bar = self.progress.add_task(
            f"{self.name}: {what}", total=len(tasks), completed=len(tasks) - len(missing)
        )

        def advance(said: str) -> None:
            self.progress.update(bar, advance=1 / max(1, self.claim.units), description=said)

        for task, rows, ran in self._in_turn(missing, advance):
            kept = {"rows": rows, "ran": sorted(ran)}
            storage.replace_file(self._file(task), json.dumps(kept) + "\n")
            if task[0] != UNTUNED or self.workers > 1:  # else `run` has told of its own units
                said = f"{self.name}: {what} {task[0]} {task[1]:g}, {task[2]}"
                self.progress.update(bar, advance=1, description=said)
        found = {task: json.loads(self._file(task).read_text()) for task in tasks}
        self.ran |= {file for kept in found.values() for file in kept["ran"]}
        return {task: kept["rows"] for task, kept in found.items()}

    def _in_turn(self, tasks: Sequence[Task], advance: Advance) -> Iterator[tuple[Task, Rows, set[str]]]:
        """(task, its rows, files that ran) as they finish."""
        kept = self.folder / "bases"
        if self.workers == 1:
            for task in tasks:
                yield task, *run_task(self.name, task, kept, advance)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, _share_cores, (self.workers,)) as pool:
            running = {pool.submit(run_task, self.name, task, kept): task for task in tasks}
            for done in as_completed(running):
                yield running[done], *done.result()

    def _file(self, task: Task) -> Path:
        arm, value, seed = task
        plain = "".join(letter if letter.isalnum() else "_" for letter in arm) or "untuned"
        return self.folder / f"{plain}-{value:.6g}-{seed}.json"


def _share_cores(workers: int) -> None:
    """Give this process its part of the threads; it ends with the one that started it."""
    end_with_parent()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def run_task(
    name: str, task: Task, kept: Path | None = None, advance: Advance = _silent
) -> tuple[Rows, set[str]]:
    """(rows, files of the project that ran, looked for once an arm); bases are kept in `kept`."""
    claim, (arm, value, seed) = registry.find_claim(name), task
    ran: set[str] = set()

    def one() -> Rows:
        if arm == UNTUNED:
            assert claim.run is not None
            return claim.run(seed, advance)
        assert claim.train is not None
        return {arm: claim.train(arm, value, seed)}

    # a profiler slows what is timed, so that reported seeds run without it where tuning has seen the code
    watch = seed == tuning.SEEDS[0] or (seed == 0 and (arm == UNTUNED or math.isnan(value)))
    with bases.kept_in(kept), code.watched(ran) if watch else nullcontext():
        return one(), ran


def summary(
    name: str, claim: Claim, runs: Sequence[Rows], choices: Mapping[str, tuning.Choice]
) -> dict[str, Any]:
    """What is stored of a claim: choices, the headline's interval over the seeds' `runs`, their table."""
    mean, low, high = intervals.headline_interval([claim.headline(rows) for rows in runs])
    arms = registry.told(claim, [_arm(arm.name, choices.get(arm.name)) for arm in claim.arms])
    return registry.describe(name, claim) | {
        "arms": arms,
        "tuned": registry.tuned(claim, arms),
        "work": _work(claim, runs),
        "measured": mean,
        "low": low,
        "high": high,
        "seeds": len(runs),
        "holds": low >= claim.target,
        "commit": code.commit(),
        "date": datetime.date.today().isoformat(),
        "hardware": hardware(),
        "table": intervals.table(runs),
        "first": runs[0],
    }


def _arm(name: str, choice: tuning.Choice | None) -> dict[str, Any]:
    """An arm's grid with the scores found, what was chosen, and whether it lies inside."""
    if choice is None:
        return {"name": name, "grid": {}, "chosen": None, "interior": True}
    grid = {f"{value:.4g}": score for value, score in choice.tried.items()}
    return {"name": name, "grid": grid, "chosen": choice.chosen, "interior": choice.interior}


def _work(claim: Claim, runs: Sequence[Rows]) -> dict[str, Any] | None:
    """What is counted, its mean for every arm, and the most over the least."""
    if not claim.arms:
        return None
    spent = {arm.name: sum(rows[arm.name]["work"] for rows in runs) / len(runs) for arm in claim.arms}
    return {"counts": claim.work, "arms": spent, "most_over_least": max(spent.values()) / min(spent.values())}
