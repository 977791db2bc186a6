"""How far a GRPO step is from what the hardware allows: floors by products and by memory.

The machine says its own speeds first: fp32 products (2048 x 1024 by 1024 x 1024) and reading (400 MB summed).
The floor of an update is 6 FLOPs a weight and forwarded token, and 6 a weight of the output layer and token
learned from; that of sampling 2 FLOPs a weight and token, or reading every weight once a step of decoding,
whichever is longer. Attention, norms, padding and the optimiser are in the time and not in the floor.

    python -m benchmarks.floors MODEL [--groups 2] [--longest 64] [--steps 3] [--threads 2]"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.engine import hardware
from benchmarks.grpo_vs_trl import ours

RESULT = Path(__file__).parent / "results" / "floors.json"


def fastest(work: Callable[[], object], times: int = 9) -> float:
    """Seconds of the fastest of so many calls, after one more."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def machine() -> tuple[float, float]:
    """(FLOP/s of fp32 products, bytes/s read)."""
    hidden, weight, long = torch.randn(2048, 1024), torch.randn(1024, 1024), torch.randn(100_000_000)
    return 2 * 2048 * 1024 * 1024 / fastest(lambda: F.linear(hidden, weight)), 4e8 / fastest(long.sum)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model")
    options.add_argument("--groups", type=int, default=2)
    options.add_argument("--longest", type=int, default=64)
    options.add_argument("--steps", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    flops, bandwidth = machine()
    print(f"products {flops / 1e9:.0f} GFLOP/s, reading {bandwidth / 1e9:.0f} GB/s, {given.threads} threads")
    loop, policy = ours(given.model, given.longest, given.groups)
    model = policy.model
    head = model.get_output_embeddings().weight.numel()
    body = sum(weight.numel() for weight in model.model.layers.parameters())
    shares: dict[str, list[float]] = {"sample": [], "update": []}
    before, met = dict(loop.seconds), (policy.meter.plain, policy.meter.learned)
    for step, batch in enumerate(loop.run(given.steps + 1)):
        took = {stage: loop.seconds[stage] - before.get(stage, 0.0) for stage in shares}
        plain, learned = policy.meter.plain - met[0], policy.meter.learned - met[1]
        before, met = dict(loop.seconds), (policy.meter.plain, policy.meter.learned)
        tokens, decodes = len(batch.actions), int(batch.length.max())
        floor = {
            "sample": max(
                2 * (body * plain + head * tokens) / flops, decodes * 4 * (body + head) / bandwidth
            ),
            "update": 6 * (body * learned + head * tokens) / flops,
        }
        if step == 0:  # it warms up
            continue
        for stage in shares:
            shares[stage].append(floor[stage] / took[stage])
            print(
                f"{stage}: {took[stage]:.2f} s, floor {floor[stage]:.2f} s ({shares[stage][-1]:.0%}), "
                f"{tokens} tokens sampled, {learned:.0f} forwarded to learn, {decodes} steps of decoding"
            )
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    kept[f"{Path(given.model).name} {given.groups * 8} x {given.longest}"] = {
        "gflops": flops / 1e9,
        "gb_per_second": bandwidth / 1e9,
        "shares": shares,
        "hardware": hardware(),
        "threads": given.threads,
    }
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
