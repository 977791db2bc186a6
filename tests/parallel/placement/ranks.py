"""Runs a function on gloo ranks, spawned once, and returns what each rank returned."""

import os
import queue
import socket
import traceback
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from oneloop.core.orphans import end_with_parent


def _work(rank: int, ranks: int, port: int, function: Any, out: Any, args: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    end_with_parent()
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", rank=rank, world_size=ranks)
        out.put((rank, function(*args), ""))
        dist.barrier()
        dist.destroy_process_group()
    except Exception:
        out.put((rank, None, traceback.format_exc()))
        raise


def on_ranks(ranks: int, function: Any, *args: Any, seconds: float = 240) -> list[Any]:
    """What `function(*args)` returns on each of `ranks` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("forkserver")  # torch is imported once for all ranks
    context.set_forkserver_preload([function.__module__])
    out = context.Queue()
    processes = [
        context.Process(target=_work, args=(rank, ranks, port, function, out, args), daemon=True)
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    found: dict[int, Any] = {}
    try:
        while len(found) < ranks:
            rank, value, error = out.get(timeout=seconds)
            assert not error, error
            found[rank] = value
    except queue.Empty as error:
        raise AssertionError(f"only ranks {sorted(found)} of {ranks} answered") from error
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    return [found[rank] for rank in range(ranks)]
