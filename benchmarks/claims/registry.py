"""Claims: a paper's headline number at CPU scale against its baseline, over several seeds, nulls included.

A claim is a file of `benchmarks/claims/` with a `CLAIM`; it runs one seed at a time, its methods on the same
data, and this file makes means and intervals of the seeds. A claim holds when the whole 95 % interval of its
headline number reaches the target (Student's t over seeds, so paired where one seed's methods are compared).
Every finished seed is kept in `runs/claims/`: an interrupted claim resumes. Seeds may run side by side.
"""

import datetime
import importlib
import json
import math
import multiprocessing
import os
import pkgutil
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.stats import t as student

from oneloop.core import storage
from oneloop.run.environment import hardware

Rows = Mapping[str, Mapping[str, float]]
Advance = Callable[[str], None]
RESULTS, FINISHED = Path("benchmarks/results"), Path("runs/claims")
MEASURED = ("measured", "low", "high", "seeds", "holds", "date", "hardware")
"""What is known of a claim once it was run."""


@dataclass(frozen=True)
class Claim:
    """What a paper claims and how it is measured here."""

    paper: str
    """arXiv id or citation."""
    parts: tuple[str, ...]
    """Parts that make the method."""
    recipe: str
    """The recipe that trains with it, or the page that shows how a method without training is used."""
    claim: str
    """One sentence."""
    target: float
    """What the headline number must reach."""
    run: Callable[[int, Advance], Rows]
    """One seed: {row of the table: {column: number}}; calls `advance(what)` `units` times."""
    headline: Callable[[Rows], float]
    """The number claimed, from one seed's rows."""
    units: int
    """Units of progress in one seed."""
    found: str = ""
    """What a tuned baseline, the same information, equal work or later code made of it; empty: not tried."""


def names() -> list[str]:
    """Claims there are, by file."""
    package = importlib.import_module("benchmarks.claims")
    found = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted(found - {"registry", "__main__"})


def find_claim(name: str) -> Claim:
    """The claim called `name`. Raises ValueError with those there are."""
    if name not in names():
        raise ValueError(f"no claim is called '{name}'; known: {', '.join(names())}")
    claim: Claim = importlib.import_module(f"benchmarks.claims.{name}").CLAIM
    return claim


def methods(results: Path = RESULTS) -> list[dict[str, Any]]:
    """One object a claim, with what was last measured (None where nothing is stored in `results`)."""
    found = []
    for name in names():
        path = results / f"{name}.json"
        stored = json.loads(path.read_text()) if path.is_file() else {}
        described = describe(name, find_claim(name))
        measured = {key: stored.get(key) for key in MEASURED}
        found.append(described | measured)
    return found


def describe(name: str, claim: Claim) -> dict[str, Any]:
    """What is known of a claim before it is run."""
    return {
        "name": name,
        "paper": claim.paper,
        "parts": list(claim.parts),
        "recipe": claim.recipe,
        "claim": claim.claim,
        "target": claim.target,
        "found": claim.found,
    }


def run_claim(
    name: str,
    seeds: int,
    out: Path = RESULTS,
    finished: Path = FINISHED,
    workers: int = 1,
    resume: bool = False,
) -> dict[str, Any]:
    """Runs `seeds` (at least 2) seeds with a progress bar; writes and returns `out`/`name`.json.

    Each seed's table is kept as `finished`/`name`/SEED.json; with `resume` those that are there are not run
    again, which is right only while the code is the same. `workers`: seeds that run at once, in processes.
    """
    claim, folder = find_claim(name), finished / name
    if seeds < 2:
        raise ValueError(f"an interval needs at least 2 seeds, got {seeds}")
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    runs = {
        seed: json.loads(file.read_text()) for seed in range(seeds) if (file := _file(folder, seed)).exists()
    }
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(name, total=seeds * claim.units, completed=len(runs) * claim.units)

        def advance(what: str, units: int = 1) -> None:
            progress.update(task, advance=units, description=what)

        missing = [seed for seed in range(seeds) if seed not in runs]
        alone = ((seed, claim.run(seed, advance)) for seed in missing)
        for seed, rows in _in_processes(claim, missing, workers, advance) if workers > 1 else alone:
            storage.replace_file(_file(folder, seed), json.dumps(rows) + "\n")
            runs[seed] = rows
    result = summary(name, claim, [runs[seed] for seed in range(seeds)])
    storage.replace_file(out / f"{name}.json", json.dumps(result, indent=1) + "\n")
    return result


def _file(folder: Path, seed: int) -> Path:
    """Where a seed's rows are kept."""
    return folder / f"{seed}.json"


def _in_processes(
    claim: Claim, seeds: Sequence[int], workers: int, advance: Callable[[str, int], None]
) -> Iterator[tuple[int, Rows]]:
    """(seed, its rows) as they finish."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _share_cores, (workers,)) as pool:
        running = {pool.submit(claim.run, seed, _silent): seed for seed in seeds}
        for done in as_completed(running):
            advance(f"seed {running[done]}", claim.units)
            yield running[done], done.result()


def _share_cores(workers: int) -> None:
    """Give this process its part of the threads."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def _silent(what: str) -> None:
    """Progress that no one sees."""


def summary(name: str, claim: Claim, runs: Sequence[Rows]) -> dict[str, Any]:
    """What is stored of a claim: the headline's mean and interval over the seeds' `runs`, and their table."""
    mean, low, high = interval([claim.headline(rows) for rows in runs])
    return describe(name, claim) | {
        "measured": mean,
        "low": low,
        "high": high,
        "seeds": len(runs),
        "holds": low >= claim.target,
        "date": datetime.date.today().isoformat(),
        "hardware": hardware(),
        "table": table(runs),
    }


def table(runs: Sequence[Rows]) -> list[dict[str, Any]]:
    """One row for each row of the seeds' tables, each number as its mean and 95 % interval."""
    made = []
    for row, columns in runs[0].items():
        cells: dict[str, Any] = {"row": row}
        for column in columns:
            mean, low, high = interval([rows[row][column] for rows in runs])
            cells[column] = {"mean": mean, "low": low, "high": high}
        made.append(cells)
    return made


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of the mean of independent `values`, by Student's t. Raises ValueError below 2."""
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 values, got {len(values)}")
    mean = statistics.fmean(values)
    half = (
        float(student.ppf(0.5 + level / 2, len(values) - 1))
        * statistics.stdev(values)
        / math.sqrt(len(values))
    )
    return mean, mean - half, mean + half
