"""Several processes on this machine as the ranks of one run, over gloo."""

import copy
import multiprocessing
import os
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaMLP

from oneloop.core.orphans import end_with_parent
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.ranks.join import joined
from oneloop.run.checkpoint import checkpoints
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.policies.tokens.forward import CausalForward
from tests.support import training

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.training", "peft", "torch.distributed.fsdp"])
LONGEST = 120.0
"""Seconds after which ranks that are not done are killed."""
CLOSE = 1e-5
"""As docs/devices.md promises of metrics at learning rates of a fine-tune."""
CLOSE_WEIGHTS = 1e-6
"""Of weights at these rates, where 3e-7 is measured. A step of Adam's is 1e-4 long then, so a gradient that
is wrong is told from one that is rounded."""
FINE = 1e-2
"""Learning rates of a fine-tune over those of `training.recipe`."""
COUNTED = ("network_evaluations", "flops")
"""What was forwarded depends on how a batch is cut; a prompt may be forwarded on two ranks."""


def start(size: int, work: Callable[..., Any], *arguments: Any) -> list[tuple[Any, Connection]]:
    """(process, where its result comes) of each rank; `work(*arguments)` runs in all of them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(size):
        ours, theirs = CONTEXT.Pipe()
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
        surroundings = {name: str(value) for name, value in names.items()}
        surroundings |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
        process = CONTEXT.Process(target=_rank, args=(surroundings, theirs, work, arguments), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def together(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns on each of `size` ranks. Raises AssertionError with the traceback of a
    rank that raised."""
    started = start(size, work, *arguments)
    try:
        said = [pipe.recv() if pipe.poll(LONGEST) else ("error", "timed out") for _, pipe in started]
    finally:
        for process, _ in started:
            process.kill()
            process.join()
    errors = [f"rank {rank}: {thing}" for rank, (word, thing) in enumerate(said) if word == "error"]
    assert not errors, "\n".join(errors)
    return [thing for _, thing in said]


def _rank(
    surroundings: dict[str, str], pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    end_with_parent()
    os.environ.update(surroundings)
    torch.set_num_threads(1)
    try:
        pipe.send(("result", work(*arguments)))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))


def train(directory: Path, resume: bool = False, **options: Any) -> None:
    """One rank's part of the run of `training.recipe` in `directory`."""
    with joined() as world:
        show = Show(quiet=True) if world.rank == 0 else Show.silent()
        Run(training.recipe(**options), directory, resume, show, world=world).train()


def options(
    form: str, parallel: str | None = None, steps: int = 3, plan: str | None = None
) -> dict[str, Any]:
    """The options of a short run of the full weights or of adapters; `plan`: the file for parallel plan."""
    raw = training.raw_recipe()
    if form == "lora":
        raw["policy"]["language"] |= {"lora": {"rank": 2}, "checkpointing": True}
    warm, reinforce = raw["phases"].values()
    warm["steps"], reinforce["steps"] = 2, steps
    reinforce["learner"]["schedule"] = "constant"
    for phase in (warm, reinforce):
        rate = FINE * phase["learner"]["learning_rate"]
        phase["learner"] |= {"parallel": parallel, "plan": plan, "learning_rate": rate}
    return {name: copy.deepcopy(raw[name]) for name in ("policy", "phases")} | {"save_every": 10}


def runs(folder: Path, *forms: tuple[str, str]) -> None:
    """A rank's part of several runs, one after the other."""
    for form, parallel in forms:
        plan = str(folder.parent / f"{dist.get_world_size()}.json") if parallel == "plan" else None
        with short_of_memory() if parallel == "fsdp2" and form == "full" else nullcontext():
            train(folder / f"{form}-{parallel}", **options(form, parallel, plan=plan))


@contextmanager
def short_of_memory() -> Iterator[None]:
    """Within it the last rank runs out of memory three times: in the forward pass of a block, in the backward
    pass of a block, and in the head."""
    forward, head, calls = LlamaMLP.forward, CausalForward.head, Counter[str]()

    def full(kind: str, at: int) -> bool:
        if dist.get_rank() + 1 < dist.get_world_size() or not torch.is_grad_enabled():
            return False
        calls[kind] += 1
        return calls[kind] == at

    def raises(*_: Any) -> None:
        raise torch.OutOfMemoryError("on purpose")

    def block(self: Any, states: Any) -> Any:
        if full("forward", 3):
            raises()
        made = forward(self, states)
        if full("backward", 6):
            made.register_hook(raises)
        return made

    def logits(self: Any, hidden: Any) -> Any:
        if full("head", 9):
            raises()
        return head(self, hidden)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LlamaMLP, "forward", block)
        patch.setattr(CausalForward, "head", logits)
        yield
    assert calls["head"] == 0 or min(calls["forward"], calls["backward"], calls["head"]) > 9


def weights(directory: Path) -> dict[str, torch.Tensor]:
    """Trained weights of the newest checkpoint, as a Hugging Face folder has them."""
    files = checkpoints(directory)[-1].glob("*.safetensors")
    return {name: value for path in files for name, value in load_file(path).items()}


def assert_close(before: Any, after: Any, name: str) -> None:
    """Numbers, nested as they may be, are equal to CLOSE; all else is equal."""
    if isinstance(before, dict):
        assert before.keys() == after.keys(), name
        before, after = list(before.values()), list(after.values())
    if isinstance(before, list | tuple):
        for one, other in zip(before, after, strict=True):
            assert_close(one, other, name)
    elif isinstance(before, float):
        assert after == pytest.approx(before, rel=CLOSE, abs=CLOSE, nan_ok=True), name
    else:
        assert after == before, name


def assert_same(one: Path, many: Path) -> None:
    """Two runs have the same batches, and metrics to CLOSE, weights to CLOSE_WEIGHTS."""
    left, right = training.lines(one), training.lines(many)
    assert [list(line) for line in left] == [list(line) for line in right]
    for before, after in zip(left, right, strict=True):
        for name in before.keys() - set(COUNTED):
            assert_close(before[name], after[name], name)
    for path in (one / "rollouts").glob("*.parquet"):
        ours, theirs = (
            pq.read_table(found).select(["id", "group", "token", "trained"]).to_pylist()
            for found in (path, many / "rollouts" / path.name)
        )
        assert ours == theirs, path.name
    ours, theirs = weights(one), weights(many)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=CLOSE_WEIGHTS, atol=CLOSE_WEIGHTS)


def write_plan(path: Path, mesh: tuple[int, ...], tokens: str, places: dict[str, str]) -> None:
    """A plan for the model of `options`, made by hand: `places` gives placements by a part of a name;
    other weights lie whole. `tokens`: where the batch lies."""
    model, _ = training.recipe(**options("full")).policy.model.build()
    whole = ",".join("R" for _ in mesh)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    lies = {name: next((places[end] for end in places if end in name), whole) for name in shapes}
    sums = dict.fromkeys(("seconds", "flops_per_rank", "cost", "bound", "solve_seconds"), 0.0)
    sums |= dict.fromkeys(("parameter_memory", "optimizer_memory", "activation_memory"), 0)
    words = dict.fromkeys(("model", "link", "objective", "fingerprint", "status"), "by hand")
    parts: dict[str, Any] = {"inputs": {"input_ids": tokens}, "signatures": {}, "moves": ()}
    made = ShardingPlan(mesh=mesh, parameters=lies, shapes=shapes, **parts, **sums, **words)
    path.write_text(made.to_json())
