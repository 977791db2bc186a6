"""Becoming one of the ranks that `torchrun` has started, or staying alone."""

import atexit
import datetime
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from oneloop.parallel.ranks.watch import watched
from oneloop.parallel.ranks.world import PATIENCE, Alone, RankFailed, Ranks, World, is_loss

MEETING = datetime.timedelta(minutes=10)
"""Time a rank waits at the start for ranks that have not come."""
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def ranks() -> tuple[int, int]:
    """(rank, number of ranks) of this process as `torchrun` says them; (0, 1) without it.

    Raises ValueError where only some of the variables are set, or where the rank is out of range.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return 0, 1
    if missing := [name for name in NEEDED if name not in os.environ]:
        raise ValueError(
            f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set; start many ranks with "
            "`torchrun --nproc-per-node N -m oneloop train RECIPE`"
        )
    rank = os.environ["RANK"]
    if not (size.isdigit() and rank.isdigit() and int(rank) < int(size)):
        raise ValueError(f"RANK={rank} and WORLD_SIZE={size} must be numbers, the rank below the size")
    return int(rank), int(size)


@contextmanager
def joined() -> Iterator[World]:
    """The ranks of this run: of `torchrun`'s process group, which is joined once and left when the process
    ends. Raises RankFailed where another rank is lost meanwhile."""
    _, size = ranks()
    if size == 1:
        yield Alone()
        return
    try:
        if not dist.is_initialized():
            _join()
        with watched():
            yield Ranks()
    except RuntimeError as error:
        if not is_loss(error):
            raise
        raise RankFailed(
            f"rank {os.environ['RANK']} has lost another rank, so the run ends here; what is written is "
            "whole, and --resume goes on, on any number of ranks "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error


def _join() -> None:
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    _look_for_torchrun()
    try:  # not by init_process_group, whose one timeout is for collectives too
        store, rank, size = next(rendezvous("env://", timeout=MEETING))
    except dist.DistError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RankFailed(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} waited "
            f"{MEETING.total_seconds():g} s for the others at {where}, and not all came "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    atexit.register(_leave)


def _look_for_torchrun() -> None:
    """Raises RankFailed where ranks would meet at a store of `torchrun`, and it is gone."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        socket.create_connection(where, timeout=MEETING.total_seconds()).close()
    except ConnectionRefusedError as error:
        raise RankFailed(
            f"rank {os.environ['RANK']} ends: torchrun, which started it, is gone "
            f"(nobody answers at {where[0]}:{where[1]})"
        ) from error
    except OSError:  # a name that is not known yet, a slow network: the meeting has its own patience
        return


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
