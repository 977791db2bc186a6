"""The protocol of actors: when a stage acts, and how registers go round. It has no threads and no clock.

    act     when every input has `take` registers, every output `give` free ones, and a worker is free
    req     a filled register goes to each of its k consumers: references = k
    ack     a consumer has read it: references - 1; at 0 the register is free again
    eord    no more registers will come over an edge; a stage that has ended says so in turn
    poison  a stage raised: nobody acts any more, and what was in registers is handed back in `left`

Callers take turns: threads.py holds a lock around each call, simulate.py has one thread. A message is a
call, so that a stage has always seen every message before it acts. After OneFlow's actors (arXiv
2110.15032, section 5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from oneloop.parallel.runtime.actor import Act, Actor
from oneloop.parallel.runtime.graph import Graph, GraphError
from oneloop.parallel.runtime.registers import Inbox, Pool, Register
from oneloop.parallel.runtime.tally import Tally

Kind = Literal["req", "ack", "eord", "poison"]
Watch = Callable[[Kind, str], None]
"""Called after each message with its kind and the name of its edge, or of the stage that raised."""


@dataclass
class Failure:
    """What ended a network."""

    stage: str
    index: int
    """Number of the act that raised."""
    error: BaseException
    """What it raised, with its traceback."""


@dataclass
class Left:
    """A payload that was on its way when the network stopped."""

    stage: str
    payload: Any
    made: bool
    """Whether `stage` has made the payload; if not, `stage` was to read it."""


class Network:
    """All actors of a graph. Raises GraphError for a graph that cannot run."""

    def __init__(self, graph: Graph, tally: Tally | None = None, watch: Watch | None = None):
        graph.check()
        self.pools = {edge.name: Pool(edge) for edge in graph.edges.values()}
        self.actors = {
            name: Actor(
                stage,
                [box for pool in self.pools.values() for box in pool.inboxes if box.consumer == name],
                [pool for pool in self.pools.values() if pool.edge.producer == name],
            )
            for name, stage in graph.stages.items()
        }
        self.tally, self.watch = tally, watch
        self.failure: Failure | None = None
        self.left: list[Left] = []
        self.stopped = False
        self.count()

    def ready(self, stage: str) -> bool:
        """Whether `stage` can act."""
        return not self.stopped and self.actors[stage].ready

    def over(self, stage: str) -> bool:
        """Whether `stage` will never act again."""
        return self.stopped or self.actors[stage].closed

    @property
    def done(self) -> bool:
        """Whether every stage has ended and every register is back."""
        return all(actor.dead for actor in self.actors.values())

    def begin(self, stage: str) -> Act:
        """Begins an act of a stage that is ready: takes its inputs, and the registers it may fill."""
        actor = self.actors[stage]
        taken = [(inbox, inbox.take()) for inbox in actor.inboxes]
        for pool in actor.pools:
            pool.reserve()
        inputs = [payload(box, registers) for box, registers in taken if not box.pool.edge.control]
        act = Act(stage, actor.begun, [one for _, registers in taken for one in registers], inputs)
        actor.begun, actor.running = actor.begun + 1, actor.running + 1
        actor.open.append(act)
        self.count()
        return act

    def end(self, act: Act, value: Any) -> None:
        """Ends the act, which made `value`: it is passed on, in its turn, and the inputs are given back."""
        actor = self.actors[act.stage]
        actor.running -= 1
        act.value, act.ended = value, True
        self._ack(act.registers)
        if self.stopped:
            self._give_up(actor, act)
        elif actor.stage.order == "completion":
            actor.open.remove(act)
            self._send(actor, act.value)
        else:
            while actor.open and actor.open[0].ended:
                self._send(actor, actor.open.popleft().value)
        self._settle(actor)
        self.count()

    def fail(self, act: Act, error: BaseException) -> None:
        """Ends the act, which raised: the network stops, and its inputs are among what is left."""
        self.failure = self.failure or Failure(act.stage, act.index, error)
        actor = self.actors[act.stage]
        actor.running -= 1
        actor.open.remove(act)
        self.left += [Left(act.stage, value, made=False) for value in act.inputs]
        for pool in actor.pools:
            pool.unreserve()
        self._ack(act.registers)
        self._tell("poison", act.stage)
        self.stop()

    def finish(self, stage: str) -> None:
        """Says that the caller, or what feeds `stage`, has nothing more for it."""
        self.actors[stage].closed = True
        self._settle(self.actors[stage])
        self.count()

    def stop(self) -> None:
        """Lets nobody act any more; acts that run may end. What is in registers goes to `left`."""
        self.stopped = True
        for actor in self.actors.values():
            actor.closed = True
            for act in [act for act in actor.open if act.ended]:
                self._give_up(actor, act)
            self._empty(actor)
        for actor in self.actors.values():
            self._settle(actor)
        self.count()

    def _send(self, actor: Actor, value: Any) -> None:
        for pool in actor.pools:
            if value is None and not pool.edge.control:
                pool.unreserve()
                continue
            pool.send(None if pool.edge.control else value)
            self._tell("req", pool.edge.name)
            for inbox in pool.inboxes:
                if self.actors[inbox.consumer].told:  # nobody reads it
                    self._empty(self.actors[inbox.consumer])

    def _ack(self, registers: list[Register]) -> None:
        for register in registers:
            register.pool.ack(register)
            self._tell("ack", register.pool.edge.name)

    def _settle(self, actor: Actor) -> None:
        """Ends a stage whose inputs have ended, and those after it."""
        if any(inbox.ended and inbox.short for inbox in actor.inboxes):
            actor.closed = True
        if not actor.closed or actor.told or actor.open:
            return
        actor.told = True
        self._empty(actor)
        for pool in actor.pools:
            for inbox in pool.inboxes:
                inbox.ended = True
                self._tell("eord", pool.edge.name)
                self._settle(self.actors[inbox.consumer])

    def _empty(self, actor: Actor) -> None:
        """Gives back what a stage will not read."""
        for inbox in actor.inboxes:
            while inbox.queue:
                register = inbox.queue.popleft()
                if not inbox.pool.edge.control:
                    self.left.append(Left(inbox.consumer, register.value, made=False))
                self._ack([register])

    def _give_up(self, actor: Actor, act: Act) -> None:
        actor.open.remove(act)
        for pool in actor.pools:
            pool.unreserve()
        if act.value is not None:
            self.left.append(Left(act.stage, act.value, made=True))

    def _tell(self, kind: Kind, name: str) -> None:
        if self.watch is not None:
            self.watch(kind, name)

    def count(self) -> None:
        """Brings the tally up to this moment."""
        if self.tally is not None:
            self.tally.note(
                {name: (actor.running, self._blamed(actor)) for name, actor in self.actors.items()}
            )

    def _blamed(self, actor: Actor) -> str:
        """The stage at the end of the chain of those that wait for one another."""
        awaited, seen = actor.waits_for(), {actor.stage.name}
        while awaited and awaited not in seen and (further := self.actors[awaited].waits_for()):
            seen.add(awaited)
            awaited = further
        return awaited


def rehearse(graph: Graph) -> None:
    """Raises GraphError unless every stage of `graph` gets to act, played without payloads."""
    network, acted = Network(graph), set[str]()
    while len(acted) < len(graph.stages):
        ready = [name for name in graph.stages if network.ready(name)]
        if not ready:
            waits = [
                f"{name} waits for {on}"
                for name, actor in network.actors.items()
                if (on := actor.waits_for())
            ]
            raise GraphError(
                [f"deadlock: {', '.join(waits)}; give their edges more registers, or more `initial`"]
            )
        name = next((name for name in ready if name not in acted), ready[0])
        acted.add(name)
        network.end(network.begin(name), "rehearsed")


def payload(inbox: Inbox, registers: list[Register]) -> Any:
    """What a stage gets of the registers of one act: the payload, or a list where it takes several."""
    values = [register.value for register in registers]
    return values[0] if inbox.pool.edge.take == 1 else values
