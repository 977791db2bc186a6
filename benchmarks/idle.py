"""What many ranks and sampling ahead cost a plain run, which uses neither.

A plain GRPO run is profiled: one process, no `runtime`. Counted are the calls a step makes into the code of
many ranks, of stages beside one another and of placements, and the time spent in that code and in what it
calls of other libraries, as a share of all time. A profiler makes calls dearer than they are: shares are
upper bounds. The norm of the gradients is in that code and is work of any run, so it is given apart. Two
sizes of model take turns; a share is of one run, so that a busy machine slows down both of its parts.

    python -m benchmarks.idle [--rounds 5] [--steps 20]
"""

import argparse
import cProfile
import json
import pstats
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import ranks
from benchmarks.against_commit import RECIPE, REWARD
from benchmarks.reliability.trials import commit
from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.text import parse
from oneloop.run.environment import hardware
from oneloop.run.progress import Show
from oneloop.run.run import Run

RESULT = Path(__file__).parent / "results" / "idle.json"
CODE = ("oneloop/parallel/", "oneloop/run/ahead.py", "oneloop/run/samplers.py", "oneloop/run/remote.py")
CODE += ("oneloop/run/staleness.py", "oneloop/sample/policies/apart.py")
NORM = "oneloop/parallel/ranks/gradient_norm.py"
Function = tuple[str, int, str]
"""File, line and name, as the profiler gives them."""


def tiny(folder: Path) -> dict[str, Any]:
    """A model of 28,000 weights, 16 rollouts of at most 8 tokens: as little work as a step can have."""
    made = ranks.recipe("full", None, 1)
    ranks.write(folder, made, "tiny")
    made["phases"] = {"reinforce": made["phases"]["reinforce"]}
    made["phases"]["reinforce"]["judge"] = [{"verifier": {"by": "exact"}}]
    return made


def small(folder: Path) -> dict[str, Any]:
    """A Llama of 3.2 million parameters, 64 rollouts of at most 64 tokens, as in against_commit.py."""
    (folder / "reward.py").write_text(REWARD)
    made: dict[str, Any] = parse(RECIPE.replace('"reward.py', f'"{folder}/reward.py'))
    return made


def measured(made: dict[str, Any], folder: Path, steps: int) -> dict[str, float]:
    """Calls and microseconds of a step in CODE, and their share of its time."""
    for phase in made.get("phases", {"": made}).values():
        phase["steps"] = steps
    run = Run(load_recipe(made)[0], folder / "run", show=Show(quiet=True))
    profile = cProfile.Profile()
    profile.runcall(run.train)
    stats: Any = pstats.Stats(profile)
    spent = {function: 0.0 for function in stats.stats if within(function, *CODE)}
    for function, (_, _, own, _, callers) in stats.stats.items():
        if function in spent:
            spent[function] += own
        elif not within(function, "oneloop/"):  # of another library
            for caller, (*_, seconds) in callers.items():
                if caller in spent:
                    spent[caller] += seconds
    norm = sum(seconds for function, seconds in spent.items() if within(function, NORM))
    rest = sum(spent.values()) - norm
    return {
        "seconds a step": stats.total_tt / steps,
        "calls a step": sum(stats.stats[function][1] for function in spent) / steps,
        "microseconds a step": 1e6 * rest / steps,
        "share": rest / stats.total_tt,
        "share of the norm": norm / stats.total_tt,
    }


def within(function: Function, *places: str) -> bool:
    """Whether a function is in one of `places`."""
    return any(place in function[0] for place in places)


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {"tiny": [], "small": []}
    for number in range(asked.rounds + 1):
        for make in (tiny, small):
            with tempfile.TemporaryDirectory() as scratch:
                found = measured(make(Path(scratch)), Path(scratch), asked.steps if number else 2)
            if number:  # the first one warms up
                rounds[make.__name__].append(found)
                print(make.__name__, {name: round(value, 6) for name, value in found.items()}, flush=True)
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.idle --rounds {asked.rounds} --steps {asked.steps}",
        **{name: summary(each) for name, each in rounds.items()},
        "commit": commit(),
        "hardware": hardware(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def summary(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """[median, least, most] of each figure."""
    columns = {name: [each[name] for each in rounds] for name in rounds[0]}
    return {name: [statistics.median(each), min(each), max(each)] for name, each in columns.items()}


if __name__ == "__main__":
    main()
