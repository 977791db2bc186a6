"""A run on 1, 2 and 4 ranks: how far metrics and weights are apart.

The same recipe on one and more processes over gloo: full weights and adapters; fsdp2, ddp and plan, solved by
the planner (one axis for 2 ranks, 2 x 2 for 4). As controls also on one process that cuts its batches into
micro-batches of other sizes: at 16 tokens it cuts them as two ranks do. Each of them also in fp64 and with
plain gradient descent (`benchmarks.arithmetic`), which tell rounding that AdamW enlarges from anything else,
and at a hundredth of the learning rates, as fine-tunes have them.
What kills of ranks leave: `python -m benchmarks.reliability.rank_kills`.

All processes share the machine's cores, so nothing here says how fast many devices are.

    python -m benchmarks.ranks [--ranks 2 4] [--controls 32 16 8] [--kinds adamw double sgd fine]"""

import argparse
import importlib
import json
import math
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from benchmarks.arithmetic import KINDS
from benchmarks.reliability import forks
from benchmarks.reliability.trials import commit, workplace
from oneloop.models.language.small_llama import SmallLlama
from oneloop.parallel.ranks import join
from oneloop.parallel.ranks.which_plan import solved
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
FINE = 0.01
"""Learning rates of a fine-tune over those of the other kinds: 1e-4 for the warm start, 3e-5 for GRPO."""
COUNTED = ("network_evaluations", "flops")
"""What is forwarded depends on how a batch is cut; reported apart."""
MODEL: dict[str, dict[str, Any]] = {
    "small_llama": {
        "hidden_size": 32,
        "layers": 2,
        "heads": 2,
        "alphabet": "0123456789+=",
        "max_positions": 32,
    }
}


def recipe(
    form: str, parallel: str | None, steps: int, tokens: int = 64, plan: str | None = None, kind: str = ""
) -> dict[str, Any]:
    """A warm start and GRPO with a KL, of all weights (full) or adapters (lora); `kind` as in KINDS."""
    rate = FINE if kind == "fine" else 1.0
    language: dict[str, Any] = {"model": MODEL, "max_new_tokens": 8}
    if form == "lora":
        language["lora"] = {"rank": 2}
    learner = {"parallel": parallel, "tokens_per_micro_batch": tokens, "plan": plan}
    warm = {
        "plan": {"data": {"rows": {"rows": ROWS}}, "groups": 4, "count": {"uniform": {"n": 1}}},
        "sample": "demonstrations",
        "objective": ["supervised"],
        "learner": {"learning_rate": 0.01 * rate, **learner},
        "steps": 4,
    }
    reinforce = {
        "plan": {"data": {"rows": {"rows": ROWS}}, "groups": 4, "count": {"uniform": {"n": 4}}},
        "judge": [{"function": {"path": "likeness.py:likeness"}}],
        "credit": ["group_relative"],
        "objective": ["policy_gradient", {"kl": {"coefficient": 0.02}}],
        "learner": {"learning_rate": 0.003 * rate, "minibatches": 2, **learner},
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


def write(folder: Path, options: dict[str, Any], name: str) -> Path:
    """The recipe as a file of `folder`, with its judge beside it."""
    (folder / "likeness.py").write_text(JUDGE)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(options, sort_keys=False))
    return file


def start(
    folder: Path,
    file: Path,
    name: str,
    size: int,
    resume: bool = False,
    hooks: Sequence[forks.Hook] = (),
    kind: str = "adamw",
) -> list[forks.Child]:
    """The processes of a run of `size` ranks in `folder / name`; `hooks` are those of rank 0, `kind` is how
    they compute (`benchmarks.arithmetic`)."""
    words = ["train", file.name, "--quiet", "--run", name, *(["--resume"] if resume else [])]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    for rank in range(size):
        _met(folder, rank).unlink(missing_ok=True)
    becomes = [partial(_becomes, rank, size, address, folder) for rank in range(size)]
    own = [hooks if rank == 0 else () for rank in range(size)]
    does = KINDS[kind](forks.command(*words))
    return [forks.start(does, folder, f"-{rank}", becomes[rank], *own[rank]) for rank in range(size)]


def _becomes(rank: int, size: int, address: dict[str, str], folder: Path) -> None:
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), **address})
    os.chdir(folder)
    torch.set_num_threads(1)
    meet = join._join

    def noted() -> None:
        meet()
        _met(folder, rank).touch()

    join._join = noted


def _met(folder: Path, rank: int) -> Path:
    return folder / f"met-{rank}"


def met(folder: Path, size: int) -> bool:
    """Whether all ranks of the latest `start` became one process group."""
    return all(_met(folder, rank).exists() for rank in range(size))


def finished(children: list[forks.Child]) -> None:
    """Waits for all of them. Raises RuntimeError where one failed."""
    for ended in [child.ended(600, grace=False) for child in children]:
        if ended.code:
            raise RuntimeError(f"a rank ended with {ended.code}: {ended.err[-2000:]}")


def prepare(folder: Path) -> None:
    """Imports what runs import, once for all of them; from now on the script works in `folder`."""
    os.chdir(folder)
    forks.preload([write(folder, recipe("lora", None, 1), "first")], folder)
    for name in (
        "fsdp",
        "checkpoint.hf_storage",
        "checkpoint.state_dict_saver",
        "checkpoint.state_dict_loader",
    ):
        importlib.import_module(f"torch.distributed.{name}")


def apart(one: Path, other: Path) -> dict[str, Any]:
    """Largest differences of two runs: of weights, of metrics relative to 1 + their size, and of counts; also
    the share of weights that are further apart than CLOSE."""
    weights = [load_file(next(iter(checkpoints(run)[-1].glob("*.safetensors")))) for run in (one, other)]
    gaps = torch.cat([(weights[0][name] - weights[1][name]).abs().flatten() for name in weights[0]])
    lines = [read_lines(run / "metrics.jsonl") for run in (one, other)]
    metrics, counted, worst = 0.0, 0.0, ""
    for left, right in zip(*lines, strict=True):
        for name, value in left.items():
            if not isinstance(value, int | float) or name == "time" or name.endswith("_time"):
                continue
            if math.isnan(value) and math.isnan(right[name]):
                continue
            far = abs(value - right[name]) / (1 + abs(value))
            if name in COUNTED:
                counted = max(counted, far)
            elif far > metrics:
                metrics, worst = far, name
    beyond = float((gaps > CLOSE).double().mean())
    found = {"weights": float(gaps.max()), "beyond": beyond, "metrics": metrics, "evaluations": counted}
    return {**found, "metric": worst}


def same(folder: Path, sizes: list[int], controls: list[int], kinds: list[str]) -> list[dict[str, Any]]:
    """Every form on every number of ranks and in every way to compute, against one process."""
    plans = {size: _plan(folder, size) for size in sizes}
    rows = []
    for form, kind in ((form, kind) for form in ("full", "lora") for kind in kinds):
        alone = f"{form}-{kind}-1"
        finished(start(folder, write(folder, recipe(form, None, 6, kind=kind), alone), alone, 1, kind=kind))
        for name, parallel, size, made in _arms(form, kind, sizes, controls, plans):
            run = f"{name}-{kind}"
            finished(start(folder, write(folder, made, run), run, size, kind=kind))
            row = {"form": form, "computes": kind, "parallel": parallel, "ranks": size, "commit": commit()}
            rows.append(row | apart(folder / alone, folder / run))
            print(rows[-1], flush=True)
    return rows


def _arms(
    form: str, kind: str, sizes: list[int], controls: list[int], plans: dict[int, str]
) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """(name, what it is, ranks, recipe) of every run that is compared with that of one process."""
    for tokens in controls:
        said = f"one process, micro-batches of {tokens} tokens"
        yield f"{form}-{tokens}", said, 1, recipe(form, None, 6, tokens=tokens, kind=kind)
    for parallel in ("fsdp2", "ddp", "plan"):
        for size in sizes:
            plan = plans[size] if parallel == "plan" else None
            yield f"{form}-{parallel}-{size}", parallel, size, recipe(form, parallel, 6, plan=plan, kind=kind)


def _plan(folder: Path, size: int) -> str:
    """File of the planner's plan for `size` ranks: on two axes if they can be halved twice."""
    model, _ = SmallLlama(**MODEL["small_llama"]).build()
    file = folder / f"plan-{size}.json"
    file.write_text(solved(model, (2, size // 2) if size % 4 == 0 else (size,), 64).to_json())
    return str(file)


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--controls", type=int, nargs="*", default=[32, 16, 8])
    parser.add_argument("--kinds", choices=[*KINDS], nargs="*", default=[*KINDS])
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    result = options.result.resolve()
    before = json.loads(result.read_text())["same"] if result.exists() else []
    kept = [row for row in before if row.get("computes", options.kinds[0]) not in options.kinds]
    with workplace() as folder:
        prepare(folder)
        found = {
            "command": " ".join(["python -m benchmarks.ranks", *sys.argv[1:]]),
            "torch": torch.__version__,
            "backend": "gloo",
            "cores": os.cpu_count(),
            "same": [*kept, *same(folder, options.ranks, options.controls, options.kinds)],
        }
    result.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
