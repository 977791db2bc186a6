"""A run on 1, 2 and 4 ranks: how far metrics and weights are apart, and what the kill of a rank leaves.

    same   the same recipe on 1 and more processes over gloo, full weights and adapters, fsdp2 and ddp; as a
           control also on one process that cuts its batches into other micro-batches
    kill   SIGKILL of one of two ranks at random moments: seconds until the other has ended; then --resume on
           one rank, compared with the run that nobody killed

All processes share the machine's cores, so nothing here says how fast many devices are.

    python benchmarks/ranks.py [--ranks 2 4] [--kills 4]"""

import argparse
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from oneloop.run.checkpoint import checkpoints
from oneloop.run.record import read_lines

RESULT = Path(__file__).parent / "results" / "ranks.json"
ROWS = [
    {"prompt": f"{a}+{b}=", "completion": str(a + b), "answer": str(a + b)}
    for a in range(5)
    for b in range(4)
]
JUDGE = """def likeness(completion, answer):
    return float(sum(one == other for one, other in zip(completion, answer))) - 0.1 * len(completion)
"""
CLOSE = 1e-5
COUNTED = ("network_evaluations", "flops")
"""What is forwarded depends on how a batch is cut; reported apart."""
MODEL = {
    "small_llama": {
        "hidden_size": 32,
        "layers": 2,
        "heads": 2,
        "alphabet": "0123456789+=",
        "max_positions": 32,
    }
}


def recipe(form: str, parallel: str | None, steps: int, tokens: int = 64) -> dict[str, Any]:
    """A warm start and GRPO with a KL, of all weights (full) or adapters (lora)."""
    language: dict[str, Any] = {"model": MODEL, "max_new_tokens": 8}
    if form == "lora":
        language["lora"] = {"rank": 2}
    learner = {"parallel": parallel, "tokens_per_micro_batch": tokens}
    warm = {
        "plan": {"data": {"rows": {"rows": ROWS}}, "groups": 4, "count": {"uniform": {"n": 1}}},
        "sample": "demonstrations",
        "objective": ["supervised"],
        "learner": {"learning_rate": 0.01, **learner},
        "steps": 4,
    }
    reinforce = {
        "plan": {"data": {"rows": {"rows": ROWS}}, "groups": 4, "count": {"uniform": {"n": 4}}},
        "judge": [{"function": {"path": "likeness.py:likeness"}}],
        "credit": ["group_relative"],
        "objective": ["policy_gradient", {"kl": {"coefficient": 0.02}}],
        "learner": {"learning_rate": 0.003, "minibatches": 2, **learner},
        "steps": steps,
    }
    return {
        "name": form,
        "policy": {"language": language},
        "phases": {"warm": warm, "reinforce": reinforce},
        "save_every": 2,
        "stop_on_alarm": False,
        "seed": 5,
    }


def start(folder: Path, options: dict[str, Any], size: int, name: str, resume: bool = False) -> list[Any]:
    """The processes of a run of so many ranks."""
    (folder / "likeness.py").write_text(JUDGE)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(options))
    command = [sys.executable, "-m", "oneloop", "train", file.name, "--quiet", "--run", name]
    if resume:
        command.append("--resume")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    own = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(size), **address}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return [subprocess.Popen(command, env={**own, **rank}, cwd=folder, **silent) for rank in ranks]  # type: ignore[call-overload]


def finished(processes: list[Any]) -> None:
    """Waits for all of them. Raises RuntimeError where one failed."""
    codes = [process.wait(600) for process in processes]
    if any(codes):
        raise RuntimeError(f"ranks ended with {codes}")


def apart(one: Path, other: Path) -> dict[str, float]:
    """Largest differences of two runs: of weights, of metrics relative to 1 + their size, and of counts; also
    the share of weights that are further apart than CLOSE."""
    weights = [load_file(next(iter(checkpoints(run)[-1].glob("*.safetensors")))) for run in (one, other)]
    gaps = torch.cat([(weights[0][name] - weights[1][name]).abs().flatten() for name in weights[0]])
    lines = [read_lines(run / "metrics.jsonl") for run in (one, other)]
    metrics = counted = 0.0
    for left, right in zip(*lines, strict=True):
        for name, value in left.items():
            if not isinstance(value, int | float) or name == "time" or name.endswith("_time"):
                continue
            if math.isnan(value) and math.isnan(right[name]):
                continue
            far = abs(value - right[name]) / (1 + abs(value))
            if name in COUNTED:
                counted = max(counted, far)
            else:
                metrics = max(metrics, far)
    beyond = float((gaps > CLOSE).double().mean())
    return {"weights": float(gaps.max()), "beyond": beyond, "metrics": metrics, "evaluations": counted}


def same(folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """Every form on every number of ranks, against one process."""
    rows = []
    for form in ("full", "lora"):
        finished(start(folder, recipe(form, None, 6), 1, f"{form}-1"))
        finished(start(folder, recipe(form, None, 6, tokens=32), 1, f"{form}-cut"))
        row = {"form": form, "parallel": "one process, smaller micro-batches", "ranks": 1}
        rows.append(row | apart(folder / f"{form}-1", folder / f"{form}-cut"))
        print(rows[-1], flush=True)
        for parallel in ("fsdp2", "ddp"):
            for size in sizes:
                name = f"{form}-{parallel}-{size}"
                finished(start(folder, recipe(form, parallel, 6), size, name))
                row = {"form": form, "parallel": parallel, "ranks": size}
                rows.append(row | apart(folder / f"{form}-1", folder / name))
                print(rows[-1], flush=True)
    return rows


def kill(folder: Path, kills: int) -> list[dict[str, Any]]:
    """Two ranks, one of which is killed; the run goes on alone."""
    options = recipe("full", "fsdp2", 8)
    finished(start(folder, options, 1, "whole"))
    draw, rows = random.Random(0), []
    for number in range(kills):
        name = f"killed-{number}"
        processes = start(folder, options, 2, name)
        steps = draw.randrange(1, 10)
        metrics = folder / name / "metrics.jsonl"
        while not metrics.exists() or metrics.read_text().count('"kind": "step"') < steps:
            if any(process.poll() is not None for process in processes):
                raise RuntimeError("a rank ended before it was killed")
            time.sleep(0.01)
        time.sleep(draw.random() * 0.2)
        victim = number % 2
        began = time.perf_counter()
        processes[victim].send_signal(signal.SIGKILL)
        code = processes[1 - victim].wait(120)
        took = time.perf_counter() - began
        finished(start(folder, options, 1, name, resume=True))
        row = {"victim": victim, "after_steps": steps, "seconds": took, "code": code}
        rows.append(row | apart(folder / "whole", folder / name))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--kills", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "command": " ".join(["python", "benchmarks/ranks.py", *sys.argv[1:]]),
            "torch": torch.__version__,
            "backend": "gloo",
            "cores": os.cpu_count(),
            "same": same(Path(folder), options.ranks),
            "kill": kill(Path(folder), options.kills),
        }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
