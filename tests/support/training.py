"""A recipe of two phases that runs in a second or two: digits learn to add, with rollouts in flight."""

import json
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from oneloop.recipe.recipe import Recipe, load_recipe
from oneloop.run.checkpoint import checkpoints
from oneloop.run.log import Log
from oneloop.run.progress import Show
from oneloop.run.record import read_lines
from oneloop.run.run import Run
from tests.support.rounding import logprob_room

JUDGE = f"{Path(__file__).parent / 'toy_parts.py'}:Likeness"
TIMES = (
    *("time", "step_time", "sample_time", "judge_time", "update_time", "credit_time", "train_time"),
    "wait_time",
)
ROWS = [
    {"prompt": f"{a}+{b}=", "completion": str(a + b), "answer": str(a + b)}
    for a in range(5)
    for b in range(4)
]


def raw_recipe(**options: Any) -> dict[str, Any]:
    """What the YAML file would say; `options` replace top-level entries."""
    warm = {
        "plan": {"data": {"rows": {"rows": ROWS}}, "groups": 4, "count": {"uniform": {"n": 1}}},
        "sample": "demonstrations",
        "objective": ["supervised"],
        "learner": {"learning_rate": 0.01, "tokens_per_micro_batch": 16},
        "steps": 4,
    }
    reinforce = {
        "plan": {
            "data": {"rows": {"rows": ROWS}},
            "groups": 2,
            "in_flight": 6,
            "keep": "keep_mixed",
            "count": {"uniform": {"n": 4}},
        },
        "judge": [JUDGE],
        "credit": ["group_relative"],
        "objective": ["policy_gradient", {"kl": {"coefficient": 0.02}}],
        "learner": {"learning_rate": 0.003, "schedule": "linear", "minibatches": 2},
        "steps": 7,
    }
    model = {
        "small_llama": {
            "hidden_size": 32,
            "layers": 1,
            "heads": 2,
            "alphabet": "0123456789+=",
            "max_positions": 32,
        }
    }
    return {
        "name": "tiny",
        "policy": {"language": {"model": model, "max_new_tokens": 8}},
        "phases": {"warm": warm, "reinforce": reinforce},
        "evaluate": {"data": {"rows": {"rows": ROWS[:6]}}, "size": 6, "samples": 2, "every": 3},
        "save_every": 2,
        "seed": 5,
        **options,
    }


def recipe(**options: Any) -> Recipe:
    """The checked recipe."""
    return load_recipe(raw_recipe(**options))[0]


def train(directory: Path, resume: bool = False, **options: Any) -> Run:
    """Runs it, or goes on with it, in `directory`."""
    return run_quietly(recipe(**options), directory, resume)


def run_quietly(recipe: Recipe, directory: Path, resume: bool = False) -> Run:
    """Runs `recipe`, or goes on with it, in `directory`; nothing is shown."""
    run = Run(recipe, directory, resume, Show(quiet=True))
    run.train()
    return run


def gap_room(run: Run, phase: str) -> float:
    """How far rounding may move `sampling/logprob_gap_max` from 0: for rollouts that are sampled anew as
    `phase` asked for them, by the policy as the run left it."""
    plan = run.recipe.phases[phase].plan
    plan.begin(seed=1, steps=1)
    finished, _ = run.policy.sample(plan.ask().put_facts(step=0))
    return logprob_room(run.policy, finished)


def lines(directory: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without wall times."""
    found = read_lines(directory / "metrics.jsonl")
    return [
        {name: value for name, value in line.items() if name not in TIMES and not name.startswith("runtime/")}
        for line in found
    ]


def outcome(directory: Path) -> dict[str, Any]:
    """Everything that must be equal to the bit: metrics, weights, optimiser, every Parquet file."""
    newest = checkpoints(directory)[-1]
    state = json.loads((newest / "loop" / "state.json").read_text())
    for at in (state, state.get("extend", {})):
        at.pop("lines_sha256", None)  # times are among the lines
    for name in ("elapsed", "recipe"):
        state.pop(name)
    state["costs"].pop("seconds")
    parquet = {path.name: path.read_bytes() for path in sorted((directory / "rollouts").glob("*.parquet"))}
    weights = {
        name: tensor.numpy().tobytes() for name, tensor in load_file(newest / "model.safetensors").items()
    }
    loop = {
        name: tensor.numpy().tobytes()
        for name, tensor in load_file(newest / "loop/tensors.safetensors").items()
    }
    return {
        "checkpoint": newest.name,
        "metrics": lines(directory),
        "state": state,
        "weights": weights,
        "loop": loop,
        "parquet": parquet,
    }


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The two outcomes agree; says in which part they do not."""
    for left, right in zip(one["metrics"], other["metrics"], strict=False):
        assert left == right
    for name in one:
        assert one[name] == other[name], name


class Train(Protocol):
    """Runs a recipe in a directory, or goes on with it."""

    def __call__(self, directory: Path, resume: bool = False) -> Any: ...


def cut_and_resumed(train: Train, directory: Path, step: int) -> dict[str, Any]:
    """The outcome of a run that is interrupted once `step` is written, and then resumed."""
    write_step = Log.write_step

    def dies(log: Log, values: dict[str, Any]) -> None:
        write_step(log, values)
        if log.step == step:
            raise KeyboardInterrupt

    return _resumed(train, directory, Log, "write_step", dies)


def cut_while_judging(train: Train, directory: Path, judge: type, step: int) -> dict[str, Any]:
    """The outcome of a run whose `judge` is interrupted in the phase's `step`, and then resumed."""
    judged = judge.__call__

    def dies(self: Any, rollouts: Any) -> Any:
        if rollouts.facts["step"] == step:
            raise KeyboardInterrupt
        return judged(self, rollouts)

    return _resumed(train, directory, judge, "__call__", dies)


def _resumed(train: Train, directory: Path, owner: type, name: str, dies: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dies)
        with pytest.raises(KeyboardInterrupt):
            train(directory)
    train(directory, resume=True)
    return outcome(directory)


def recorded(directory: Path, phase: str) -> list[dict[str, Any]]:
    """The rows of all step files of a phase, in order."""
    files = sorted((directory / "rollouts").glob("step-*"))
    return [row for path in files for row in pq.read_table(path).to_pylist() if row["phase"] == phase]
