"""Before a release: every claim in its quick form, every recipe to its end, a page of what changed since.

    python -m benchmarks.release [--claims otr ...] [--recipes tiny ...]     (`make release`: all, over night)

Each runs in a process of its own; what fails is a row of the page and not the end of the run. The page goes
to `build/release.md`, the numbers to `benchmarks/results/release.json`; what that file held before is what it
is compared with. A quick claim is one seed, so it is asked only whether its number lies where the stored
seeds lie.
"""

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import code, registry
from oneloop.core import storage
from oneloop.recipe.needs import NEEDS
from oneloop.recipe.text import shipped
from oneloop.run.environment import hardware
from oneloop.run.record import read_lines

LEFT_OUT = {name: need for name, need in NEEDS.items() if need.of != "fetch"}
"""Recipes that are not run by themselves, and what they need."""
STORED, PAGE, RUNS = Path("benchmarks/results/release.json"), Path("build/release.md"), Path("build/release")
Row = dict[str, Any]


def claim_row(name: str) -> Row:
    """The claim's headline on one seed at its chosen settings, and whether it lies among the stored seeds."""
    asked = (
        "import json, sys; from benchmarks.claims import registry, running; "
        "rows = running.run_quickly(sys.argv[1]); found = registry.find_claim(sys.argv[1]).headline(rows); "
        "print(json.dumps(found[0] / found[1] if isinstance(found, tuple) else found))"
    )
    done, seconds = timed([sys.executable, "-c", asked, name])
    row: Row = {"seconds": seconds, "failed": failure(done)}
    if row["failed"]:
        return row
    stored = next(method for method in registry.methods() if method["name"] == name)
    row["headline"] = json.loads(done.stdout.splitlines()[-1])
    return row | {"stored": stored["measured"], "stale": stored["stale"], "state": stored["state"]}


def recipe_row(name: str) -> Row:
    """The recipe trained to its end: held-out accuracy or reward before its first phase, after its last."""
    folder = RUNS / name
    shutil.rmtree(folder, ignore_errors=True)
    words = [sys.executable, "-m", "oneloop", "train", name, "--run", str(folder)]
    done, seconds = timed(words)
    row: Row = {"seconds": seconds, "failed": failure(done)}
    if row["failed"]:
        return row
    return row | measured(read_lines(folder / "metrics.jsonl"))


def measured(lines: Sequence[Mapping[str, Any]]) -> Row:
    """{mode: [before the first phase, after the last]} of accuracy, or of reward where there is none."""
    found: Row = {}
    for mode in ("greedy", "sampled"):
        ours = [line for line in lines if line["kind"] == "eval" and line["mode"] == mode]
        values = [line.get("accuracy", line.get("reward")) for line in ours if line["when"] != "during"]
        if values and None not in (values[0], values[-1]):
            found[mode] = [values[0], values[-1]]
    return found


def timed(words: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    """The finished process and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done, time.perf_counter() - began


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a process that failed, empty for one that ended well."""
    said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
    return said[-1] if done.returncode else ""


def page(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """What was run, and beside it what was found the last time."""
    lines = [f"# Release check of {now['date']}", "", f"Commit {now['commit']}, {now['hardware']}."]
    if before:
        lines += [f"Compared with {before['date']}, commit {before['commit']}, {before['hardware']}."]
    for kind, show in (("recipes", recipe_cells), ("claims", claim_cells)):
        lines += ["", f"## {kind.capitalize()}", "", "| name | found | last time | seconds (last time) |"]
        lines += ["| --- | --- | --- | --- |"]
        for name, row in now[kind].items():
            was = before.get(kind, {}).get(name)
            took = f"{row['seconds']:.0f}" + (f" ({was['seconds']:.0f})" if was else "")
            lines.append(f"| {name} | {show(row)} | {show(was) if was else 'not run'} | {took} |")
    lines += ["", "Not run: " + "; ".join(f"{name} (needs {what})" for name, what in LEFT_OUT.items()) + "."]
    return "\n".join(lines) + "\n"


def recipe_cells(row: Mapping[str, Any]) -> str:
    """Before and after, by mode."""
    if row["failed"]:
        return f"**failed**: {row['failed']}"
    found = [
        f"{mode} {row[mode][0]:.3f} -> {row[mode][1]:.3f}" for mode in ("sampled", "greedy") if mode in row
    ]
    return ", ".join(found) or "ran to its end; it has no evaluation"


def claim_cells(row: Mapping[str, Any]) -> str:
    """The headline of one seed beside the stored mean."""
    if row["failed"]:
        return f"**failed**: {row['failed']}"
    stored = "nothing stored" if row["stored"] is None else f"stored {row['stored']:.3g}, {row['state']}"
    return f"one seed {row['headline']:.3g}; {stored}{', made by earlier code' if row['stale'] else ''}"


def main() -> int:
    """Runs what is asked for and writes the page; 1 where something failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--claims", nargs="*", default=registry.names(), help="claims to run; default: all")
    every = [name for name in shipped() if name not in LEFT_OUT]
    parser.add_argument("--recipes", nargs="*", default=every, help="recipes to train; default: all that can")
    given = parser.parse_args()
    before = json.loads(STORED.read_text()) if STORED.is_file() else {}
    now: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "commit": code.commit(),
        "hardware": hardware(),
        "recipes": {},
        "claims": {},
    }
    makes: tuple[tuple[str, Sequence[str], Callable[[str], Row]], ...] = (
        ("recipes", given.recipes, recipe_row),
        ("claims", given.claims, claim_row),
    )
    for kind, names, make in makes:
        for number, name in enumerate(names, start=1):
            print(f"{kind} {number}/{len(names)}: {name}", flush=True)
            now[kind][name] = make(name)
            storage.replace_file(PAGE, page(now, before))
    storage.replace_file(STORED, json.dumps(now, indent=1) + "\n")
    print(PAGE)
    return int(any(row["failed"] for kind in ("recipes", "claims") for row in now[kind].values()))


if __name__ == "__main__":
    sys.exit(main())
