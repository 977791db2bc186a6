"""Registers: bounded buffers that are counted, so that a stage knows when it may write and when to wait.

For each edge, always: free + reserved + held = registers.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from oneloop.parallel.runtime.graph import Edge


class BrokenProtocol(AssertionError):
    """Registers were lost or doubled, or came out of order: a fault of this package."""


@dataclass(eq=False)
class Register:
    """One filled register of an edge."""

    pool: "Pool"
    sequence: int
    """Number on its edge, from 0; registers that wait at the start have negative numbers."""
    value: Any
    references: int
    """Consumers that have not read it yet."""


class Pool:
    """The registers of one edge, on the side of its producer."""

    def __init__(self, edge: Edge):
        self.edge = edge
        self.free, self.reserved, self.held = edge.registers - edge.initial, 0, edge.initial
        self.max_held, self.sent = edge.initial, 0
        self.inboxes = [Inbox(self, consumer) for consumer in edge.consumers]
        for number in range(edge.initial):
            register = Register(self, number - edge.initial, None, len(self.inboxes))
            for inbox in self.inboxes:
                inbox.add(register)

    @property
    def full(self) -> bool:
        """Whether an act of the producer has to wait."""
        return self.free < self.edge.give

    def reserve(self) -> None:
        """Keeps the registers that an act may fill for it alone, when it begins."""
        self.free, self.reserved = self.free - self.edge.give, self.reserved + self.edge.give

    def unreserve(self) -> None:
        """Gives back the registers of an act that passed nothing on."""
        self.free, self.reserved = self.free + self.edge.give, self.reserved - self.edge.give

    def send(self, value: Any) -> None:
        """Fills the registers of an act with `value`: every consumer gets them."""
        for _ in range(self.edge.give):
            self.reserved, self.held = self.reserved - 1, self.held + 1
            self.max_held = max(self.max_held, self.held)
            register = Register(self, self.sent, value, len(self.inboxes))
            self.sent += 1
            for inbox in self.inboxes:
                inbox.add(register)

    def ack(self, register: Register) -> None:
        """Notes that a consumer has read `register`; after the last one it is free."""
        register.references -= 1
        if register.references == 0:
            register.value = None
            self.held, self.free = self.held - 1, self.free + 1

    def check(self) -> None:
        """Raises BrokenProtocol unless every register is free, reserved or held."""
        counts = (self.free, self.reserved, self.held)
        if min(counts) < 0 or sum(counts) != self.edge.registers:
            raise BrokenProtocol(
                f"edge '{self.edge.name}': {self.free} free, {self.reserved} reserved and {self.held} held "
                f"of {self.edge.registers} registers"
            )


class Inbox:
    """The registers of one edge that wait for one consumer, in the order of their numbers."""

    def __init__(self, pool: Pool, consumer: str):
        self.pool, self.consumer, self.ended = pool, consumer, False
        self.due = -pool.edge.initial
        self.queue: deque[Register] = deque()

    def add(self, register: Register) -> None:
        """Raises BrokenProtocol when it is not the one that was due."""
        if register.sequence != self.due:
            raise BrokenProtocol(
                f"edge '{self.pool.edge.name}': register {register.sequence} came where {self.due} was due"
            )
        self.due += 1
        self.queue.append(register)

    @property
    def short(self) -> bool:
        """Whether there are too few registers for an act."""
        return len(self.queue) < self.pool.edge.take

    def take(self) -> list[Register]:
        """The registers of one act."""
        return [self.queue.popleft() for _ in range(self.pool.edge.take)]
