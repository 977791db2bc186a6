"""What GRPO alone adds to held-out accuracy in the quickstart recipe over seeds, and how long it takes.

python benchmarks/quickstart.py [--seeds 3] [--runs DIR]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from oneloop.recipe.recipe import load_recipe
from oneloop.run.record import read_lines
from oneloop.run.run import Run

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "quickstart.json"


def accuracies(directory: Path) -> dict:
    """Held-out accuracy of a run, by "when phase mode"."""
    evaluations = [line for line in read_lines(directory / "metrics.jsonl") if line["kind"] == "eval"]
    return {f"{line['when']} {line['phase']} {line['mode']}": line["accuracy"] for line in evaluations}


def seed_run(seed: int, parent: Path) -> dict:
    """One run: accuracy after each phase, sampled and greedy, and wall time."""
    recipe, _ = load_recipe(ROOT / "recipes" / "quickstart.yaml", [f"seed={seed}"])
    start = time.perf_counter()
    directory = Run(recipe, parent / f"quickstart-seed{seed}").train()
    found = {"seed": seed, "seconds": time.perf_counter() - start, **accuracies(directory)}
    found["gain"] = found["after grpo sampled"] - found["after warm_start sampled"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=None)
    given = parser.parse_args()
    parent = given.runs or Path(tempfile.mkdtemp())
    runs = [seed_run(seed, parent) for seed in range(given.seeds)]
    gains = [run["gain"] for run in runs]
    RESULT.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    for run in runs:
        print(json.dumps(run))
    middle = statistics.mean(gains)
    print(f"quickstart_grpo_gain: {middle:.3f} ({min(gains):.3f}-{max(gains):.3f}) over {len(gains)}")


if __name__ == "__main__":
    main()
