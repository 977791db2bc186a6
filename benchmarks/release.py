"""Before a release: every claim in its quick form, every recipe to its end, a page of what changed since.

    python -m benchmarks.release [--claims otr ...] [--recipes tiny ...]     (`make release`: all, over night)

Each runs in a process of its own; what fails is a row of the page and not the end of the run. The page goes
to `build/release.md`, the numbers to `benchmarks/results/release.json`, beside those of whatever is not run
now; what that file held before is what they are compared with. A quick claim is one seed, so it is asked only
whether its number lies where the stored seeds lie. What a recipe reaches, `.ci/method_index.py` writes into
its head and into docs/recipes.md.
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

LEFT_OUT = {name: need for name, need in NEEDS.items() if need.of in ("hub", "reader")}
"""Recipes that are not run, and what they need."""
STORED, PAGE, RUNS = Path("benchmarks/results/release.json"), Path("build/release.md"), Path("build/release")
ABOUT = ("date", "commit", "hardware")
"""What each row of the numbers says of itself."""
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
    """The recipe trained to its end: held-out accuracy or reward before it, and after each phase."""
    folder = RUNS / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    RUNS.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-m", "oneloop"]
    # in a folder of its own, so that a recipe that goes on from another finds it in runs/
    if name in NEEDS and NEEDS[name].of == "fetch":
        done, seconds = timed([*program, "fetch", NEEDS[name].what], RUNS)
        if failure(done):
            return {"seconds": seconds, "failed": failure(done)}
    done, seconds = timed([*program, "train", name, "--run", f"runs/{name}"], RUNS)
    row: Row = {"seconds": seconds, "failed": failure(done)}
    if row["failed"]:
        return row
    return row | measured(read_lines(folder / "metrics.jsonl"))


def measured(lines: Sequence[Mapping[str, Any]]) -> Row:
    """{mode: [before the first phase, after each]} of what is held out.

    `of` says what of it: accuracy, or reward where there is none.
    """
    ours = [line for line in lines if line["kind"] == "eval" and line["when"] != "during"]
    of = "accuracy" if any("accuracy" in line for line in ours) else "reward"
    found: Row = {}
    for mode in ("greedy", "sampled"):
        values = [line.get(of) for line in ours if line["mode"] == mode]
        if values and None not in values:
            found |= {"of": of, mode: values}
    return found


def timed(words: Sequence[str], folder: Path = Path()) -> tuple[subprocess.CompletedProcess[str], float]:
    """The finished process, run in `folder`, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    return done, time.perf_counter() - began


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a process that failed, empty for one that ended well."""
    said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
    return said[-1] if done.returncode else ""


def page(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """What was run, and beside it what was found the last time."""
    lines = [f"# Release check of {now['date']}", "", f"Commit {now['commit']}, {now['hardware']}."]
    for kind, show in (("recipes", recipe_cells), ("claims", claim_cells)):
        lines += ["", f"## {kind.capitalize()}", ""]
        lines += ["| name | found | last time | seconds (last time) | last time on |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for name, row in now[kind].items():
            was = before.get(kind, {}).get(name)
            took = f"{row['seconds']:.0f}" + (f" ({was['seconds']:.0f})" if was else "")
            on = ", ".join(str(was[key]) for key in ABOUT) if was else ""
            lines.append(f"| {name} | {show(row)} | {show(was) if was else 'not run'} | {took} | {on} |")
    lines += ["", "Not run: " + "; ".join(f"{name} (needs {what})" for name, what in LEFT_OUT.items()) + "."]
    return "\n".join(lines) + "\n"


def recipe_cells(row: Mapping[str, Any]) -> str:
    """Before, and after each phase, by mode."""
    if row["failed"]:
        return f"**failed**: {row['failed']}"
    modes = [mode for mode in ("sampled", "greedy") if mode in row]
    found = [f"{mode} {' -> '.join(f'{value:.3f}' for value in row[mode])}" for mode in modes]
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
    able = [name for name in shipped() if name not in LEFT_OUT]
    # what goes on from the run of another recipe comes after it
    every = sorted(able, key=lambda name: name in NEEDS and NEEDS[name].of == "run")
    parser.add_argument("--recipes", nargs="*", default=every, help="recipes to train; default: all that can")
    given = parser.parse_args()
    before = json.loads(STORED.read_text()) if STORED.is_file() else {}
    about = dict(zip(ABOUT, (datetime.date.today().isoformat(), code.commit(), hardware()), strict=True))
    now: dict[str, Any] = {**about, "recipes": {}, "claims": {}}
    makes: tuple[tuple[str, Sequence[str], Callable[[str], Row]], ...] = (
        ("recipes", given.recipes, recipe_row),
        ("claims", given.claims, claim_row),
    )
    for kind, names, make in makes:
        for number, name in enumerate(names, start=1):
            print(f"{kind} {number}/{len(names)}: {name}", flush=True)
            now[kind][name] = make(name) | about
            storage.replace_file(PAGE, page(now, before))
            kept = {each: {**before.get(each, {}), **now[each]} for each, _, _ in makes}
            storage.replace_file(STORED, json.dumps(kept, indent=1, sort_keys=True) + "\n")
    print(PAGE)
    return int(any(row["failed"] for kind in ("recipes", "claims") for row in now[kind].values()))


if __name__ == "__main__":
    sys.exit(main())
