"""Mutated recipes: each is accepted or refused in sentences, and those accepted run, two steps a phase.

Every try is one recipe with one to six random changes, loaded with a limit on time and memory. Some of the
accepted ones are run: they end well, or with a sentence; one that takes long is stopped and must say so.
    python -m benchmarks.reliability.recipes [--tries 5000] [--run 300] [--seed 0] [--recipes NAME ...]
"""

import copy
import json
import os
import random
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability import forks
from benchmarks.reliability.mutations import edited, mutated, parts
from benchmarks.reliability.trials import Runs, Trials, options, workplace
from oneloop.recipe import text as recipe_text
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe

BATCH = 25
"""Recipes loaded by one child."""
SECONDS, GIBIBYTES = 20.0, 4.0
"""Processor time a recipe may take to load, and memory it may take to load and to run."""
LONGEST = 12.0
"""Seconds a run may take before it is stopped."""
KINDS = ("accepted", "refused in words", "tracebacks", "hangs", "deaths", "unclear", "comes back different")
KINDS += (
    "runs",
    "ran to the end",
    "run refused in words",
    "run stopped in words",
    "run tracebacks",
    "run failed",
)
FOREIGN = ("Traceback", "validation error", "ArgsKwargs", "object at 0x")
"""What no sentence for a user holds."""


def main() -> int:
    parser = options(__doc__ or "", 5000)
    parser.add_argument("--run", type=int, default=300, help="how many of the accepted recipes are run")
    given = parser.parse_args()
    with workplace() as folder:
        trials = Trials("recipes", given.tries, given.seed, given.minutes, given.results, given.add)
        return carry_out(trials, Runs(folder, given.recipes), given.run)


def carry_out(trials: Trials, runs: Runs, most: int) -> int:
    """Loads mutated recipes and runs at most `most` of the accepted ones; 1 where there are faults."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    accepted = load_all(trials, runs.folder, [runs.recipe(name) for name in runs.names])
    share = random.Random(trials.seed).sample(accepted, min(most, len(accepted)))
    for number, file in enumerate(share, start=1):
        if trials.late():
            break
        run_one(trials, runs.folder, file)
        if number % 10 == 0:
            print(f"runs {number}/{len(share)} faults {len(trials.faults)}", flush=True)
    return trials.finish(KINDS)


# loading


def load_all(trials: Trials, folder: Path, files: Sequence[Path]) -> list[Path]:
    """Loads `trials.tries` mutated recipes; the accepted ones as files of `folder`."""
    accepted = []
    (folder / "accepted").mkdir(exist_ok=True)
    while trials.more():
        numbers = range(trials.done, min(trials.done + BATCH, trials.tries))
        report = folder / "report.jsonl"
        report.write_text("")
        child = forks.start(
            lambda n=numbers: load_some(n, trials.seed, files, folder), folder, "", forks.at_most(GIBIBYTES)
        )
        ended = child.ended(SECONDS * BATCH * 4, grace=False)
        told = [json.loads(line) for line in report.read_text().splitlines()]
        for one in told:
            trials.counts[one["became"]] += 1
            if one["fault"]:
                trials.faults.append(f"{one['became']}: {one['what']}")
                print(f"FAULT {one['became']}: {one['what']}", flush=True)
            if one["became"] == "accepted":
                accepted.append(folder / "accepted" / f"{one['number']}.yaml")
            trials.tried()
        if len(told) < len(numbers):
            kind = "hangs" if ended.late or ended.code == -signal.SIGPROF else "deaths"
            trials.fault(kind, f"recipe {numbers[len(told)]}: exit {ended.code} {ended.err[-600:]}")
            trials.tried()
    return accepted


def load_some(numbers: range, seed: int, files: Sequence[Path], folder: Path) -> None:
    """Loads the recipes of these numbers, in a child; what became of each is a line of report.jsonl."""
    warnings.simplefilter("ignore")
    known = parts()
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # unhandled, it ends the process
        source = mutant(number, seed, files, folder, known)
        became, fault, what = loaded(source, folder / "accepted" / f"{number}.yaml")
        with (folder / "report.jsonl").open("a") as report:
            shown = f"recipe {number}: {what}"
            report.write(
                json.dumps({"number": number, "became": became, "fault": fault, "what": shown}) + "\n"
            )
    signal.setitimer(signal.ITIMER_PROF, 0)


def mutant(number: int, seed: int, files: Sequence[Path], folder: Path, known: list[Any]) -> Any:
    """The recipe of this number: changed values, or every fifth time a file with changed text."""
    draw = random.Random(f"{seed} {number}")
    file = draw.choice(files)
    if draw.random() < 0.3:  # as it is shipped: options left out, anchors, comments
        file = recipe_text.shipped()[file.stem]
    if draw.random() < 0.2:
        path = folder / "edited.yaml"
        path.write_text(edited(file.read_text(), draw), encoding="utf-8")
        return path
    return mutated(recipe_text.read(file), draw, known)


def loaded(source: Any, target: Path) -> tuple[str, bool, str]:
    """(what became of it, whether that is a fault, details)."""
    before = copy.deepcopy(source)
    try:
        recipe, _ = load_recipe(source)
    except RecipeError as error:
        return refused(error.faults)
    except BaseException:
        return "tracebacks", True, f"{traceback.format_exc()[-1500:]} {before!s:.300}"
    try:
        written = recipe_text.written(recipe)
        again, _ = load_recipe(recipe_text.parse(written))
        if again != recipe or recipe_text.written(again) != written:
            return "comes back different", True, written[:600]
    except BaseException:
        return "tracebacks", True, f"accepted, then {traceback.format_exc()[-1500:]}"
    target.write_text(written, encoding="utf-8")
    return "accepted", False, ""


def refused(faults: Sequence[str]) -> tuple[str, bool, str]:
    """Whether every fault is a sentence that a user can act on."""
    for fault in faults:
        if len(fault) > 600 or "\n" in fault or not fault.strip() or any(word in fault for word in FOREIGN):
            return "unclear", True, fault[:900]
    return "refused in words", False, "; ".join(faults)[:300]


# running


def run_one(trials: Trials, folder: Path, file: Path) -> None:
    """Runs an accepted recipe, two steps a phase."""
    phases = [f"phases.{name}.steps=2" for name in recipe_text.read(file)["phases"]]
    directory = folder / "run"
    child = forks.start(
        forks.command("train", file, "--run", directory, *phases), folder, "", forks.at_most(GIBIBYTES)
    )
    ended = child.ended(LONGEST, signal.SIGTERM)
    trials.counts["runs"] += 1
    where = f"recipe {file.stem}"
    if ended.left:
        trials.fault("left processes", f"{where}: {ended.left}", len(ended.left))
    if ended.traceback:
        trials.fault("run tracebacks", f"{where}: {ended.err[-1800:]}")
    elif ended.code == 0:
        trials.counts["ran to the end"] += 1
    elif ended.late and ended.code in (143, -signal.SIGTERM):
        trials.counts["run stopped in words"] += 1
    elif ended.code == 2 and ended.err.strip():
        trials.counts["run refused in words"] += 1
    else:
        trials.fault("run failed", f"{where}: exit {ended.code} {ended.err[-600:]} {ended.out[-300:]}")
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
