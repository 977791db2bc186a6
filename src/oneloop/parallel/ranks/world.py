"""The ranks of a run: processes that go through the same steps, each with a share of the work.

Rank 0 alone writes and decides; the others learn from it what was decided. `Alone` is the form of one
process: it asks nobody and costs nothing. `Ranks` speaks over a gloo group of its own, where a rank may wait
for a slow judge without a limit that is meant for tensors.
"""

import datetime
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")
PATIENCE = datetime.timedelta(hours=24)
"""Time a rank waits for another one that is alive; one that has died is found out at once (watch.py)."""


class RankFailed(RuntimeError):
    """Another rank has stopped the run, or is gone; the message says which and why."""


class Followed(RankFailed):
    """Rank 0 has raised an error, which it says itself, and the others end with it."""


class RanksDiffer(ValueError):
    """Ranks that should do the same would do different things; the message gives what each of them says."""


def is_loss(error: Exception) -> bool:
    """Whether `error` is what a collective raises when another rank is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


class World(Protocol):
    """What a run knows of its ranks."""

    rank: int
    """Number of this process, from 0."""
    size: int
    """Number of processes."""
    group: Any
    """The process group over which they speak; None for one process."""

    def first(self, work: Callable[[], Item]) -> Item:
        """The result of `work` on rank 0, for all ranks; the others do not call it. What it raises there is
        raised there, and Followed elsewhere."""

    def gather(self, item: Item) -> list[Item]:
        """What each rank gives, in order of ranks, for all of them."""

    def agree(self, what: str, said: str) -> None:
        """Raises RanksDiffer, on every rank, unless all say the same of `what`."""


class Alone:
    """One process."""

    rank, size, group = 0, 1, None

    def first(self, work: Callable[[], Item]) -> Item:
        """The result of `work`."""
        return work()

    def gather(self, item: Item) -> list[Item]:
        """`item` alone."""
        return [item]

    def agree(self, what: str, said: str) -> None:
        """One process agrees with itself."""


class Ranks:
    """The processes of the default process group; make it on all of them at once."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def first(self, work: Callable[[], Item]) -> Item:
        """See `World`."""
        if self.rank:
            told = self.hear()
            if told[0] == "failed":
                raise Followed(f"rank 0 has stopped: {told[1]}")
            result: Item = told[1]
            return result
        try:
            result = work()
        except Exception as error:
            self.tell("failed", f"{type(error).__name__}: {error}")
            raise
        self.tell("result", result)
        return result

    def gather(self, item: Item) -> list[Item]:
        """See `World`."""
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item, group=self.group)
        return items

    def agree(self, what: str, said: str) -> None:
        """See `World`."""
        found = self.gather(said)
        if len(set(found)) > 1:
            words = ", ".join(f"rank {rank}: {value}" for rank, value in enumerate(found))
            raise RanksDiffer(f"the ranks differ in {what}, so none goes on: {words}")

    def tell(self, word: str, thing: Any = None) -> None:
        """Rank 0 says something to the others, who must be waiting in `hear`."""
        dist.broadcast_object_list([word, thing], src=0, group=self.group, device=torch.device("cpu"))

    def hear(self) -> tuple[str, Any]:
        """What rank 0 says next."""
        said: list[Any] = [None, None]
        dist.broadcast_object_list(said, src=0, group=self.group, device=torch.device("cpu"))
        return said[0], said[1]
