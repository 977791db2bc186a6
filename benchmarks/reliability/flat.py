"""Whether memory and time of a step stay flat over a long run, and what a report of long rollouts takes.

    python -m benchmarks.reliability.flat [--steps 2000] [--rollouts 10000] [--tokens 1000]

Prints bytes, peak memory and seconds of the report of that many rollouts of that many tokens each, in a
process of its own; then the slope of resident memory (MB in a thousand steps; of the least of each fifty
steps, since it rises until a checkpoint gives memory back) and of the time of a step (percent in a thousand
steps), with 95 % intervals by least squares, over all steps but the first tenth, which fill caches.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import linregress
from scipy.stats import t as student

from oneloop.core.storage import replace_file
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.record import write_parquet
from oneloop.run.run import Run

EVERY = 50
"""Steps between checkpoints."""
RESULT = Path(__file__).parents[1] / "results" / "flat.json"
PER_STEP = 100
"""Rollouts of each step of the report that is measured."""


class Watched(Show):
    """Notes memory and time at every step, and shows the usual lines."""

    def __init__(self) -> None:
        super().__init__()
        self.resident: list[float] = []
        self.seconds: list[float] = []

    def step(self, values: dict[str, Any]) -> None:
        """Also notes the MB of this process and the seconds the step took."""
        super().step(values)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident.append(pages * resource.getpagesize() / 1e6)
        self.seconds.append(values["step_time"])


def recipe(steps: int) -> dict[str, Any]:
    """GRPO on two-digit sums with a model of width 8: a step takes milliseconds, so that many can be made."""
    return {
        "name": "flat",
        "policy": {
            "language": {
                "model": {"small_llama": {"hidden_size": 8, "layers": 1, "heads": 2}},
                "max_new_tokens": 6,
            }
        },
        "plan": {
            "data": {"sums": {"largest": 99, "size": 10_000}},
            "groups": 2,
            "count": {"uniform": {"n": 4}},
        },
        "judge": [{"function": {"path": digits}}],
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
        "steps": steps,
        "save_every": EVERY,
    }


def digits(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    """A reward in which rollouts differ: the share of digits."""
    texts = [messages[0]["content"] for messages in completions]
    return [sum(map(str.isdigit, text)) / max(len(text), 1) for text in texts]


def slope(values: list[float], steps: int = 1) -> tuple[float, float, float]:
    """Rise in a thousand steps by least squares over all but the first tenth, and its 95 % interval; each
    value is that of so many steps."""
    kept = np.asarray(values[len(values) // 10 :])
    fit = linregress(np.arange(len(kept)) * steps, kept)
    wide = student.ppf(0.975, len(kept) - 2) * fit.stderr
    return 1000 * fit.slope, 1000 * (fit.slope - wide), 1000 * (fit.slope + wide)


def least(values: list[float], steps: int) -> list[float]:
    """The least of each so many steps that are whole."""
    return [min(values[start : start + steps]) for start in range(0, len(values) - steps + 1, steps)]


def long_run(steps: int, folder: Path) -> dict[str, Any]:
    """Memory and time of every step of a run of so many steps, as slopes and as ends."""
    show = Watched()
    Run(load_recipe(recipe(steps))[0], folder / "run", show=show).train()
    tenth = max(1, steps // 10)
    typical = float(np.median(show.seconds))
    return {
        "steps": steps,
        "memory_mb_per_1000_steps": slope(least(show.resident, EVERY), EVERY),
        "memory_mb": [show.resident[tenth], show.resident[-1]],
        "step_seconds_median": [
            float(np.median(show.seconds[tenth : 2 * tenth])),
            float(np.median(show.seconds[-tenth:])),
        ],
        # cut at three times the median: what else runs on the machine has long tails
        "step_percent_per_1000_steps": [
            100 * each / typical for each in slope(np.minimum(show.seconds, 3 * typical).tolist())
        ],
        "files_of_rollouts": len(list((folder / "run" / "rollouts").iterdir())),
    }


def made_up(rollouts: int, tokens: int, folder: Path) -> None:
    """A run directory with so many rollouts, of so many tokens each, all of whose numbers differ."""
    draw = np.random.default_rng(0)
    pieces = [f" w{number}" for number in range(5000)]
    lines = []
    for step in range(1, rollouts // PER_STEP + 1):
        rows = []
        for row in range(PER_STEP):
            token = draw.integers(0, len(pieces), tokens)
            text = [pieces[each] for each in token]
            rows.append(
                {
                    "step": step,
                    "phase": "train",
                    "trained": True,
                    "id": step * PER_STEP + row,
                    "group": step * PER_STEP + row // 10,
                    "key": row // 10,
                    "prompt": f"question {row // 10}",
                    "text": "".join(text),
                    "status": "stop",
                    "reward": float(draw.random()),
                    "token": token.tolist(),
                    "piece": text,
                    "logprob": (-draw.random(tokens)).tolist(),
                    "advantage": draw.normal(size=tokens).tolist(),
                    "entropy": draw.random(tokens).tolist(),
                }
            )
        write_parquet(folder / "rollouts" / f"step-{step:06d}.parquet", rows)
        lines.append(json.dumps({"kind": "step", "phase": "train", "step": step, "reward": 0.5}))
    replace_file(folder / "metrics.jsonl", "\n".join(lines) + "\n")
    replace_file(folder / "recipe.yaml", "name: made-up\n")
    replace_file(folder / "environment.json", "{}")


REPORT = """
import json, re, sys, time
from pathlib import Path

from oneloop.cli.report import write_report  # the command, with all that it loads


def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000


before, start = peak(), time.perf_counter()
size = write_report(Path(sys.argv[1])).stat().st_size
took = time.perf_counter() - start
print(json.dumps({"bytes": size, "seconds": took, "peak_mb": peak(), "imports_mb": before}))
"""
"""What the process that is measured runs: what `oneloop report` does."""


def report(folder: Path) -> dict[str, Any]:
    """Bytes, seconds and peak memory of a process that writes the report of `folder`."""
    command = [sys.executable, "-c", REPORT, str(folder)]
    measured = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(measured.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measures both and writes benchmarks/results/flat.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made_up(given.rollouts, given.tokens, Path(folder) / "made_up")
        page = report(Path(folder) / "made_up")
        print(
            f"report of {given.rollouts} rollouts of {given.tokens} tokens: {page['bytes'] / 1e6:.1f} MB, "
            f"peak {page['peak_mb']:.0f} MB ({page['imports_mb']:.0f} after its imports), "
            f"{page['seconds']:.1f} s"
        )
        flat = long_run(given.steps, Path(folder))
    memory, seconds = flat["memory_mb_per_1000_steps"], flat["step_percent_per_1000_steps"]
    print(f"memory: {memory[0]:+.2f} MB in 1000 steps ({memory[1]:+.2f} to {memory[2]:+.2f})")
    print(f"time of a step: {seconds[0]:+.1f} % in 1000 steps ({seconds[1]:+.1f} to {seconds[2]:+.1f})")
    print(f"files of rollouts after {given.steps} steps: {flat['files_of_rollouts']}")
    asked = {"rollouts": given.rollouts, "tokens": given.tokens}
    replace_file(RESULT, json.dumps({"run": flat, "report": {**asked, **page}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
