"""All five scripts in one process, each with a share of its tries.

python -m benchmarks.reliability [--share 1.0] [--seed 0] [--recipes NAME ...]
"""

import argparse
import sys
from pathlib import Path

from benchmarks.reliability import corruption, kills, recipes, signals, two_processes
from benchmarks.reliability.trials import RESULTS, Runs, Trials, carry_out, workplace

FULL = {"kills": 500, "signals": 200, "corruption": 100, "two_processes": 40}
SCRIPTS = {"kills": kills, "signals": signals, "corruption": corruption, "two_processes": two_processes}
MUTATED, RUN = 5000, 300


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of the full number of tries")
    parser.add_argument("--add", action="store_true", help="add to the results of other seeds that are there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--recipes", nargs="*", default=None, help="names of shipped recipes; default: all")
    given = parser.parse_args()

    def trials(name: str, full: int) -> Trials:
        return Trials(name, max(2, round(given.share * full)), given.seed, None, given.results, given.add)

    with workplace() as folder:
        runs = Runs(folder, given.recipes)
        faults = [
            carry_out(trials(name, full), runs, SCRIPTS[name].KINDS, SCRIPTS[name].one)
            for name, full in FULL.items()
        ]
        faults.append(recipes.carry_out(trials("recipes", MUTATED), runs, max(2, round(given.share * RUN))))
    return max(faults)


if __name__ == "__main__":
    sys.exit(main())
