"""Ends a rank whose run cannot go on because another rank is gone.

A thread of each rank meets those of the others over a gloo group of its own, twice a second. A process that
dies closes its connections, so all others know at once, whatever they are waiting for. Nobody is declared
dead for being slow. Ranks that `torchrun` started also look whether it is still there: they would outlive it.
"""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from oneloop.parallel.ranks.world import PATIENCE, Followed

BEAT = 0.5
"""Seconds between two meetings."""
GRACE = 5.0
"""Seconds a rank has to end by itself; then it is interrupted, and after as many again it is ended."""
LOST = 70
"""Exit code of a rank that had to be ended."""


LAST_WORDS = 60.0
"""Seconds a rank waits for rank 0 to say, and write down, what has stopped it."""


@contextmanager
def watched() -> Iterator[None]:
    """A context in which this process ends soon after the process of any other rank. All ranks enter it at
    once, and leave it together or by an exception. One that rank 0 raised (Followed) is passed on only when
    rank 0 has ended, because `torchrun` ends all ranks as soon as one of them ends."""
    watch = _Watch()
    try:
        yield
        watch.leave()
    except Followed:
        watch.left.set()
        watch.gone.wait(LAST_WORDS)
        raise
    finally:
        watch.left.set()


class _Watch:
    """The thread, and what it knows."""

    def __init__(self) -> None:
        self._rank, self._size = dist.get_rank(), dist.get_world_size()
        # others, a shell for instance, may end before the rank
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._over = threading.Event()
        self.left, self.gone = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._meet, name="oneloop ranks", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Waits until all ranks have come so far."""
        self._over.set()
        self._thread.join()

    def _meet(self) -> None:
        over = 0
        try:
            while over < self._size:
                self._over.wait(BEAT)
                if self._parent not in (None, os.getppid()):
                    self.gone.set()
                    self._lost("torchrun")
                    return
                count = torch.tensor([int(self._over.is_set())])
                dist.all_reduce(count, group=self._group)
                over = int(count)
        except RuntimeError:
            self.gone.set()
            self._lost("another rank")

    def _lost(self, who: str) -> None:
        if self.left.wait(GRACE):
            return
        print(
            f"rank {self._rank}: {who} is gone, so this one ends too; --resume goes on",
            file=sys.stderr,
            flush=True,
        )
        # reaches Python code, a judge for instance, but no collective; in the background of a shell a process
        # is started deaf to SIGINT
        deaf = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, signal.SIG_DFL)
        _thread.interrupt_main(signal.SIGTERM if deaf else signal.SIGINT)
        if not self.left.wait(GRACE):
            os._exit(LOST)
