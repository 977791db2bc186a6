"""`oneloop plan --check`: one planned step on gloo ranks against what was predicted, and against one
process."""

import copy
import math
import os
import queue
import socket
import traceback
from typing import Any, NamedTuple

import psutil
import torch
import torch.distributed as dist
from torch import multiprocessing
from torch.distributed.device_mesh import init_device_mesh

from oneloop.cli.plan_model import built, sample
from oneloop.core.orphans import end_with_parent
from oneloop.parallel.placement.apply import apply
from oneloop.parallel.placement.comm_bytes import CommBytes
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.plan import ShardingPlan

PATIENCE = 600.0
"""Seconds without an answer after which the ranks are given up."""


class Checked(NamedTuple):
    """What one planned step did."""

    recorded: int
    """Bytes that all ranks sent together, the optimiser's step included."""
    differs: list[str]
    """Collectives that ran and were not planned, or the reverse."""
    gap: float
    """Largest difference of a gradient from one process, over the largest gradient."""
    loss: float
    """Difference of the loss from one process."""


def check(plan: ShardingPlan, model: str, dtype: torch.dtype, batch: int, length: int) -> Checked:
    """Run forward, backward and AdamW of `model` with random weights, one process a rank.

    Raises PlacementError where this machine's memory does not hold a whole model for each rank, and where a
    rank fails.
    """
    ranks = math.prod(plan.mesh)
    whole = sum(math.prod(shape) for shape in plan.shapes.values()) * dtype.itemsize
    free = psutil.virtual_memory().available
    if 3 * whole * ranks > free:
        raise PlacementError(
            f"--check: {ranks} ranks with the whole model take about {3 * whole * ranks / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free; check a smaller model of the class"
        )
    return _gathered(ranks, (plan.to_json(), model, dtype, batch, length))


def _gathered(ranks: int, args: tuple[Any, ...]) -> Checked:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [
        context.Process(target=_rank, args=(rank, ranks, port, answers, args), daemon=True)
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    try:
        found = [answers.get(timeout=PATIENCE) for _ in range(ranks)]
    except queue.Empty as error:
        raise PlacementError(f"--check: a rank did not answer within {PATIENCE:.0f} s") from error
    finally:
        for process in processes:
            process.join(timeout=5)
            process.kill()
    results: list[Checked] = [result for result, error in found if not error]
    faults = [error for _, error in found if error]
    if faults:
        raise PlacementError(f"--check: a rank failed:\n{faults[0]}")
    return max(results, key=lambda one: one.gap)


def _rank(rank: int, ranks: int, port: int, answers: Any, args: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    end_with_parent()
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", rank=rank, world_size=ranks)
        answers.put((step(*args), ""))
        dist.barrier()
        dist.destroy_process_group()
    except Exception:
        answers.put((None, traceback.format_exc()))


def step(text: str, model: str, dtype: torch.dtype, batch: int, length: int) -> Checked:
    """One planned step on this rank, compared with a step of this process alone."""
    torch.manual_seed(0)
    plan, planned = ShardingPlan.from_json(text), built(model, dtype, real=True)
    return compared_step(plan, planned, sample(planned.config, batch, length, dtype))


def compared_step(plan: ShardingPlan, planned: torch.nn.Module, given: dict[str, Any]) -> Checked:
    """A planned step of `planned`, held whole by every rank, compared with a step of one process."""
    alone = copy.deepcopy(planned)
    expected = alone(**given).loss
    expected.backward()
    ran = apply(plan, planned, init_device_mesh("cpu", plan.mesh), given)
    optimizer = torch.optim.AdamW(planned.parameters(), foreach=False)
    with CommBytes() as moved:
        loss = ran(**given)
        loss.backward()
        optimizer.step()
    grads: list[tuple[Any, Any]] = [
        (p.grad, a.grad) for p, a in zip(planned.parameters(), alone.parameters(), strict=True)
    ]
    pairs = [(p.full_tensor(), a) for p, a in grads if a is not None]
    largest = max(float(a.abs().max()) for _, a in pairs)
    gap = max(float((p - a).abs().max()) for p, a in pairs)
    return Checked(
        moved.total, moved.diff(plan), gap / largest, abs(float(loss.detach() - expected.detach()))
    )
