"""What the scripts share: options, the folder they work in, a line every ten tries, the table at the end."""

import argparse
import datetime
import json
import os
import platform
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.reliability import forks, tiny
from benchmarks.reliability.outcome import Outcome, outcome, rollouts
from oneloop.recipe.needs import NEEDS
from oneloop.run.environment import hardware

RESULTS = Path(__file__).parents[1] / "results"
SLOW = ("branchgrpo", "capo", "everything", "flow_grpo", "one_sided", "onereward", "tiny")
SLOW += ("one_dm", "one_dm_grpo")
"""Recipes whose run takes long, for worker processes or images; they are drawn less often."""


@dataclass
class Trials:
    """Counts of one script, and the faults it found."""

    name: str
    tries: int
    seed: int
    minutes: float | None = None
    """After so many it ends, with the tries it has made."""
    results: Path = RESULTS
    """Folder of the result."""
    add: bool = False
    """Whether to add to the result that is there, whose tries were of other seeds."""
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    done: int = 0

    def more(self) -> bool:
        """Whether there are tries to make and time to make them."""
        return self.done < self.tries and not self.late()

    def late(self) -> bool:
        """Whether the time is over."""
        return self.minutes is not None and time.monotonic() - self.began > 60 * self.minutes

    def fault(self, kind: str, what: str, number: int = 1) -> None:
        """Counts `number` faults of a kind, and prints what they are."""
        self.counts[kind] += number
        if number:
            self.faults.append(f"{kind}: {what}")
            print(f"FAULT {kind}: {what}", flush=True)

    def tried(self) -> None:
        """One try is over."""
        self.done += 1
        if self.done % 10 == 0 or self.done == self.tries:
            took = time.monotonic() - self.began
            rest = took / self.done * (self.tries - self.done)
            print(
                f"{self.name} {self.done}/{self.tries} faults {len(self.faults)} {took:.0f} s, "
                f"{rest:.0f} s to go",
                flush=True,
            )

    def finish(self, kinds: Sequence[str]) -> int:
        """Prints the table and writes the result; 1 where there are faults. `kinds` are shown if zero too."""
        counts = {kind: self.counts.get(kind, 0) for kind in [*kinds, *self.counts]}
        table = Table("what", "number", title=f"{self.name}: {self.done} tries, seed {self.seed}")
        for kind, number in {"tries": self.done, **counts}.items():
            table.add_row(kind, f"{number:,}")
        Console().print(table)
        self._write({**counts, "seconds": round(time.monotonic() - self.began)})
        return int(bool(self.faults))

    def _write(self, counts: dict[str, int]) -> None:
        path = self.results / f"reliability_{self.name}.json"
        before = json.loads(path.read_text()) if self.add and path.exists() else {}
        summed = {kind: _both(kind, before.get(kind, 0), number) for kind, number in counts.items()}
        result = {
            "tries": before.get("tries", 0) + self.done,
            **summed,
            "seeds": [*before.get("seeds", []), self.seed],
            "faults": [*before.get("faults", []), *self.faults],
            "commits": list(dict.fromkeys([*before.get("commits", []), commit()])),
            "hardware": hardware(),
            "system": platform.platform(),
            "date": datetime.date.today().isoformat(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")


def _both(kind: str, before: int, number: int) -> int:
    """Counts of two results together; of times in milliseconds the longer."""
    return max(before, number) if kind.startswith("milliseconds") else before + number


def options(about: str, tries: int) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=tries)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", action="store_true", help="add to the result of other seeds that is there")
    parser.add_argument("--minutes", type=float, default=None, help="end after so many, with fewer tries")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("--recipes", nargs="*", default=None, help="names of shipped recipes; default: all")
    return parser


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder, in memory if there is such, where flushing to disk costs no time; deleted at the end."""
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="reliability-", dir=parent))
    try:  # no TemporaryDirectory: a forked child that ends would delete it
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Whole:
    """A recipe, and what its run left alone writes."""

    name: str
    recipe: Path
    directory: Path
    result: Outcome
    rollouts: Counter[tuple[str, int]]
    seconds: float

    @property
    def events(self) -> int:
        """Roughly how many operations on files a run makes."""
        return 6 * len(self.result) + 40


class Runs:
    """Tiny recipes and their uninterrupted runs, each made when it is first asked for."""

    def __init__(self, folder: Path, names: Sequence[str] | None = None):
        self.folder, self.names = folder, list(names or tiny.names())
        self._made: dict[str, Whole] = {}
        sample = [name for name in ("sft", "branchgrpo", "tiny", "onereward") if name in self.names]
        forks.preload([self.recipe(name) for name in sample or self.names[:1]], folder)

    @property
    def directory(self) -> Path:
        """Where the run of a try is."""
        return self.folder / "run"

    def recipe(self, name: str) -> Path:
        """The tiny recipe of a name, as a file."""
        path = self.folder / "recipes" / f"{name}.yaml"
        if path.exists():
            return path
        if name in NEEDS and NEEDS[name].of == "run":
            self.whole(NEEDS[name].what)
        return tiny.write(name, path.parent, self.folder / "whole")

    def draw(self, draw: random.Random) -> Whole:
        """One of the recipes, at random."""
        weights = [1 if name in SLOW else 5 for name in self.names]
        return self.whole(draw.choices(self.names, weights)[0])

    def whole(self, name: str) -> Whole:
        """The recipe `name` and its run left alone."""
        if name not in self._made:
            recipe, directory = self.recipe(name), self.folder / "whole" / name
            ended = forks.run(self.folder, "train", recipe, "--run", directory)
            assert ended.code == 0 and not ended.left, (name, ended)
            found = outcome(directory), rollouts(directory)
            self._made[name] = Whole(name, recipe, directory, *found, ended.seconds)
        return self._made[name]


One = Callable[[Trials, Runs, random.Random], None]
"""A try, or a few of one run."""


def script(name: str, about: str, tries: int, kinds: Sequence[str], one: One) -> int:
    """A whole script: its options, its tries, its table. 1 where there are faults."""
    given = options(about, tries).parse_args()
    with workplace() as folder:
        trials = Trials(name, given.tries, given.seed, given.minutes, given.results, given.add)
        return carry_out(trials, Runs(folder, given.recipes), kinds, one)


def carry_out(trials: Trials, runs: Runs, kinds: Sequence[str], one: One) -> int:
    """Makes the tries, each in an empty run directory; 1 where there are faults."""
    draw = random.Random(trials.seed)
    with suppress(KeyboardInterrupt):  # what was found so far is kept
        while trials.more():
            one(trials, runs, draw)
            shutil.rmtree(runs.directory, ignore_errors=True)
    return trials.finish(kinds)


def commit() -> str:
    """The commit of the code that is measured, with a + where files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return "unknown"
    git = ["git", "-C", str(root)]
    name = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True).stdout
    return name + ("+" if changed.strip() else "")
