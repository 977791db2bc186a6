"""What the last phase of the demo's recipe adds to held-out accuracy over seeds, its time and its memory.

The recipe `quickstart` needs its model (`oneloop fetch smollm2`); `tiny` is the demo without a download.
    python benchmarks/quickstart.py [--recipe quickstart] [--seeds 3] [--runs DIR] [path=value ...]
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from oneloop.recipe.recipe import load_recipe
from oneloop.run.record import read_lines
from oneloop.run.run import Run

RESULTS = Path(__file__).parent / "results"


def accuracies(directory: Path) -> dict:
    """Held-out accuracy of a run, by "when phase mode"."""
    evaluations = [line for line in read_lines(directory / "metrics.jsonl") if line["kind"] == "eval"]
    return {f"{line['when']} {line['phase']} {line['mode']}": line["accuracy"] for line in evaluations}


def seed_run(name: str, overrides: Sequence[str], seed: int, parent: Path) -> dict:
    """One run: accuracy before and after each phase, sampled and greedy, time and memory.

    `gain` is what the last phase adds to sampled accuracy; `cpu_seconds` counts all threads, evaluation too.
    """
    recipe, _ = load_recipe(name, [f"seed={seed}", *overrides])
    start, before = time.perf_counter(), time.process_time()
    found = accuracies(Run(recipe, parent / f"{name}-seed{seed}").train())
    took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - before}
    measured = [value for key, value in found.items() if key.endswith(" sampled")]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seed": seed, **took, "peak_gib": peak, **found, "gain": measured[-1] - measured[-2]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="quickstart", choices=["quickstart", "tiny"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=None)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    parent, runs = given.runs or Path(tempfile.mkdtemp()), list[dict]()
    for seed in range(given.seeds):
        runs.append(seed_run(given.recipe, given.overrides, seed, parent))
        print(json.dumps(runs[-1]), flush=True)
        if not given.overrides:  # what the page says is of the recipe as it ships
            (RESULTS / f"{given.recipe}.json").write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    gains = [run["gain"] for run in runs]
    middle = statistics.mean(gains)
    print(f"{given.recipe}: gain {middle:.3f} ({min(gains):.3f}-{max(gains):.3f}) over {len(gains)}")


if __name__ == "__main__":
    main()
