"""This checkout against an earlier commit: a GRPO step, its stages, and start-up.

Both train the same recipe (a Llama of 3.2 M parameters, 64 completions of at most 64 tokens), each run in a
process of its own and in turns, so that a machine that slows down slows both. Ratios are of medians within a
round, ours over theirs: below 1 this checkout is faster.

    python benchmarks/against_commit.py eef0e41 [--rounds 5] [--steps 6]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "against_commit.json"
PROGRAM = """
try:
    from oneloop.cli.main import main
except ImportError:  # a commit in which the commands are one module
    from oneloop.cli import main
main()
"""
RECIPE = """
policy:
  language:
    model: {small_llama: {heads: 8}}
    max_new_tokens: 64
plan: {data: {reasoning: {task: chain_sum, size: 512}}, groups: 8, count: {uniform: {n: 8}}}
judge: [{function: {path: "reward.py:varied"}}]
credit: [group_relative]
objective: [policy_gradient]
learner: {learning_rate: 1.0e-5}
stop_on_alarm: false
save_every: 1000
"""
# every group has a signal: a commit that skips groups without one does the same work as one that does not
REWARD = """
def varied(completions, **columns):
    return [sum(map(ord, text)) % 7 / 7 for text in completions]
"""
MEASURED = ("step_time", "sample_time", "update_time")


def run(source: Path, folder: Path, steps: int) -> dict[str, float]:
    """Medians over the steps after the first, in seconds, and the wall time of `oneloop --help`."""
    environment = os.environ | {"PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    program = [sys.executable, "-c", PROGRAM]
    subprocess.run([*program, "--help"], env=environment, check=True, capture_output=True)
    found = {"help": time.perf_counter() - start}
    recipe = folder / "step.yaml"
    recipe.write_text(RECIPE)
    (folder / "reward.py").write_text(REWARD)
    words = ["train", str(recipe), f"steps={steps + 1}", "--run", str(folder / "run")]
    subprocess.run([*program, *words], env=environment, check=True, capture_output=True, cwd=folder)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if line["kind"] == "step"][1:]
    return found | {name: statistics.median(line[name] for line in measured) for name in MEASURED}


def git(*words: str) -> None:
    subprocess.run(["git", *words], cwd=ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        theirs = Path(scratch) / "theirs"
        subprocess.run(
            ["git", "worktree", "add", "-q", "--detach", theirs, asked.commit], cwd=ROOT, check=True
        )
        try:
            rounds = []
            for number in range(asked.rounds):
                pair = {}
                # who goes first changes, so that a machine that slows down within rounds slows both
                for name, source in [("theirs", theirs), ("ours", ROOT)][:: -1 if number % 2 else 1]:
                    folder = Path(scratch) / f"{name}-{number}"
                    folder.mkdir()
                    pair[name] = run(source / "src", folder, asked.steps)
                rounds.append(pair)
        finally:
            git("worktree", "remove", "--force", str(theirs))
    ratios = {
        name: [pair["ours"][name] / pair["theirs"][name] for pair in rounds] for name in rounds[0]["ours"]
    }
    stored = {"commit": asked.commit, "hardware": platform.processor() or platform.machine()}
    stored |= {"cores": os.cpu_count(), "rounds": rounds, "ratios": ratios}
    RESULT.write_text(json.dumps(stored, indent=1) + "\n")
    for name, values in ratios.items():
        middle = statistics.median(values)
        print(f"{name}: {middle:.2f} ({min(values):.2f}-{max(values):.2f}) over {len(values)}")


if __name__ == "__main__":
    main()
