"""Whether time and memory grow as the work does: tables, groups, data and long histories.

    actions     a batch of rollouts of 250 actions: owners, credit, selection, split, join, written to disk
                and read back
    group       one group of so many rollouts of 4 actions: credit, the subset of largest variance, selection
    extend      sampled tokens appended to rollouts of 250 tokens
    data        a JSONL file of so many rows: read, checked, and a hundred batches asked for
    history     a metrics file of so many steps: read, and its report written

Each size is measured in a process of its own. A slope is the exponent between the two largest sizes, 1 where
twice the work takes twice the time or memory; memory is counted from what is there before.

    python -m benchmarks.scale [--only actions group ...]"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine import hardware
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.engines.request import Reply
from oneloop.report.page import write_report
from oneloop.sample.data.hub import Hub
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.tokens.chains import chain_parents, extend
from oneloop.select.mixed_groups import MixedGroups
from oneloop.select.subset import Subset
from oneloop.select.top_tokens import TopTokens

RESULT = Path(__file__).parent / "results" / "scale.json"


def table(rollouts: int, actions: int, per_group: int) -> Rollouts:
    """Judged rollouts of so many actions each."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.full((rollouts,), actions)
    total = rollouts * actions
    columns = {
        "parent": chain_parents(lengths),
        "token": torch.randint(0, 50_000, (total,), generator=random),
        "version": torch.zeros(total, dtype=torch.long),
        "logprob": -torch.rand(total, generator=random),
        "share": torch.ones(total),
        "entropy": torch.rand(total, generator=random),
    }
    number = torch.arange(rollouts)
    return Rollouts(
        {
            "id": number,
            "group": number // per_group,
            "key": number // per_group,
            "last": torch.cumsum(lengths, 0) - 1,
            "status": ["stop"] * rollouts,
            "reward": torch.randint(0, 2, (rollouts,), generator=random).double(),
        },
        Actions(columns, total),
        {"step": 1, "progress": 0.0, "seed": 0},
    )


def actions(size: int, folder: Path) -> None:
    """A batch of `size` actions."""
    batch = table(size // 250, 250, 8)
    assert len(batch.owner) == len(batch.depth) == size
    batch = MixedGroups()(GroupRelative()(batch))
    batch = TopTokens()(batch)
    left, right = batch.split(batch.id % 2 == 0)
    batch = Rollouts.join([left, right])
    batch.save(folder / "batch")
    assert len(Rollouts.load(folder / "batch").actions) == size


def group(size: int, folder: Path) -> None:
    """One group of `size` rollouts."""
    batch = table(size, 4, size)
    Subset(scope="group")(MixedGroups()(GroupRelative()(batch)))


def append(size: int, folder: Path) -> None:
    """`size` sampled tokens."""
    asked = table(size // 250, 250, 8)
    tokens, logprobs = tuple(range(250)), np.zeros(250, dtype=np.float32)
    replies = [Reply(tokens, logprobs, "stop") for _ in range(len(asked))]
    assert len(extend(asked, replies, 1).actions) == 2 * size


def data(size: int, folder: Path) -> None:
    """A file of `size` rows, and a hundred batches."""
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(size):
            row = {"prompt": f"What is {number} + {number}?", "answer": str(2 * number), "id": number}
            file.write(json.dumps(row) + "\n")
    rows = Hub(path=str(folder / "rows.jsonl"))
    plan = Plan(data=rows, groups=64, count=Uniform(n=8))
    plan.begin(seed=0, steps=100)
    for _ in range(100):
        asked = plan.ask()
        assert asked is not None and len(asked) == 512
        answered = extend(asked, [Reply((1,), np.zeros(1, dtype=np.float32), "stop")] * 512, 0)
        plan.tell(answered, answered.take(torch.zeros(0, dtype=torch.long)))
        assert plan.batch() is not None


def history(size: int, folder: Path) -> None:
    """A run of `size` steps."""
    random = np.random.default_rng(0)
    names = ("reward", "reward_std", "loss", "grad_norm", "entropy", "logprob_gap", "step_time")
    lines = []
    for step in range(1, size + 1):
        values = dict(zip(names, random.random(len(names)).tolist(), strict=True))
        lines.append(json.dumps({"kind": "step", "phase": "train", "step": step, **values}))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text("name: made-up\n")
    (folder / "environment.json").write_text("{}\n")
    (folder / "rollouts").mkdir()
    write_report(folder)


WORK: dict[str, tuple[Callable[[int, Path], None], tuple[int, ...]]] = {
    "actions": (actions, (100_000, 1_000_000, 10_000_000)),
    "group": (group, (4_096, 40_960, 409_600)),
    "extend": (append, (100_000, 1_000_000, 4_000_000)),
    "data": (data, (1_000, 10_000, 100_000)),
    "history": (history, (200, 2_000, 20_000)),
}


def once(name: str, size: int) -> tuple[float, float]:
    """(seconds, MB beyond what was there) of one piece of work, in this process."""
    work, sizes = WORK[name]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as folder:
        work(min(sizes), Path(first))  # what is loaded when first needed
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        work(size, Path(folder))
        seconds = time.perf_counter() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="*", choices=WORK, default=list(WORK))
    options.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.once:
        print(*once(given.once[0], int(given.once[1])))
        return
    found = json.loads(RESULT.read_text())["work"] if RESULT.exists() else {}
    for name in given.only:
        rows = []
        for size in WORK[name][1][1:]:
            command = [sys.executable, "-m", "benchmarks.scale", "--once", name, str(size)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name} of {size:,}: {done.stderr}")
            seconds, memory = map(float, done.stdout.split()[-2:])
            rows.append({"size": size, "seconds": seconds, "mb": memory})
            print(f"{name} of {size:,}: {seconds:.2f} s, {memory:.0f} MB", flush=True)
        small, large = rows
        times = math.log(large["size"] / small["size"])
        slopes = {
            what: math.log(max(large[what], 1e-3) / max(small[what], 1e-3)) / times
            for what in ("seconds", "mb")
        }
        powers = f"time grows with the power {slopes['seconds']:.2f}, memory with {slopes['mb']:.2f}"
        print(f"{name}: {powers} of the size")
        found[name] = {"rows": rows, "slopes": slopes}
        RESULT.write_text(json.dumps({"hardware": hardware(), "work": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
