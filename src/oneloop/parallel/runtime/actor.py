"""One stage as an actor: its state, when it can act, and what it waits for. The protocol: network.py."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from oneloop.parallel.runtime.graph import GraphStage
from oneloop.parallel.runtime.registers import Inbox, Pool, Register


@dataclass(eq=False)
class Act:
    """One act of a stage, from its start to the moment its result leaves."""

    stage: str
    index: int
    registers: list[Register]
    inputs: list[Any]
    """Payloads of the data edges."""
    value: Any = None
    ended: bool = False


@dataclass(eq=False)
class Actor:
    """The state of one stage."""

    stage: GraphStage
    inboxes: list[Inbox]
    pools: list[Pool]
    begun: int = 0
    running: int = 0
    open: deque[Act] = field(default_factory=deque)
    """Acts whose results have not left, in the order in which they began."""
    closed: bool = False
    """Whether it begins no more acts."""
    told: bool = False
    """Whether its consumers know that it begins no more acts."""

    @property
    def ready(self) -> bool:
        """Whether it can act."""
        return (
            not self.closed
            and self.running < self.stage.workers
            and not any(inbox.short for inbox in self.inboxes)
            and not any(pool.full for pool in self.pools)
        )

    @property
    def dead(self) -> bool:
        """Whether it has ended and all its registers are back."""
        return self.closed and not self.open and not any(pool.held for pool in self.pools)

    def waits_for(self) -> str:
        """The stage it needs something of: the first input that lacks registers, then the first full output;
        "" if it works or needs nothing."""
        if self.running or self.closed:
            return ""
        for inbox in self.inboxes:
            if inbox.short:
                return inbox.pool.edge.producer
        for pool in self.pools:
            if pool.full:
                return max(pool.inboxes, key=lambda inbox: len(inbox.queue)).consumer
        return ""
