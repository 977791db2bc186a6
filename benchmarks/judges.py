"""What it costs to judge 64 rollouts in a killable process instead of in this one.

The same 64 chain_sum answers, scored by `Verifier` in its worker and by the same scorer called here, turns
taken; a ratio is taken within each repeat. Starting the worker (once a run) is timed apart.
    python benchmarks/judges.py [--repeats 50]"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.judge.scorers import reasoning_gym
from oneloop.judge.verifier import Verifier
from oneloop.sample.data.reasoning import Reasoning

N = 64


def rollouts() -> Rollouts:
    """Answers of which every other one is wrong."""
    rows = [Reasoning()[key] for key in range(N)]
    texts = [row["answer"] + "1" * (key % 2) for key, row in enumerate(rows)]
    columns = {"last": torch.full((N,), -1), "text": texts, "example": rows}
    return Rollouts(columns, Actions({"parent": torch.zeros(0, dtype=torch.int64)}))


def seconds(run: Callable[[], object]) -> float:
    """Of wall time."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    judge, asked = Verifier(), rollouts()
    start = seconds(lambda: judge(asked))
    pairs = list(zip(asked.text, asked.example, strict=True))
    times = [
        (seconds(lambda: judge(asked)), seconds(lambda: [reasoning_gym(text, row) for text, row in pairs]))
        for _ in range(repeats)
    ]
    ratios = sorted(there / here for there, here in times)
    middle, low, high = statistics.median(ratios), ratios[repeats // 20], ratios[-1 - repeats // 20]
    result = {
        "rollouts": N,
        "worker_seconds": statistics.median(there for there, _ in times),
        "here_seconds": statistics.median(here for _, here in times),
        "start_seconds": start,
        "ratio": middle,
        "low": low,
        "high": high,
        "repeats": repeats,
    }
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    (Path(__file__).parent / "results" / "judges.json").write_text(json.dumps(result, indent=1) + "\n")
    milliseconds = 1000 * result["worker_seconds"]
    print(f"{N} rollouts in a worker: {milliseconds:.1f} ms a batch; its start {start:.1f} s, once")
    print(f"judges_worker_over_here: {middle:.2f} ({low:.2f}-{high:.2f}) over {repeats}")


if __name__ == "__main__":
    main()
