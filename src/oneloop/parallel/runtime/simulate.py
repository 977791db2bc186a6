"""A graph in virtual time: each stage takes the seconds that are given for it, and nobody really waits.

    trace = simulate(graph, {"read": 4.0, "judge": 3.0, "learn": 5.0}, items=200)
    trace.makespan, trace.period("learn"), trace.max_held

The protocol is the one of threads (network.py), so registers, order and back-pressure are those of a real
run; only the clock and the functions differ. A thousand workers cost no more than one.
"""

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from oneloop.parallel.runtime.actor import Act
from oneloop.parallel.runtime.graph import Graph
from oneloop.parallel.runtime.network import Network, Watch
from oneloop.parallel.runtime.tally import Tally

Duration = float | Callable[[int], float]
"""Seconds of each act of a stage, or what gives them from the act's number."""


class Deadlock(RuntimeError):
    """Nobody can act and not everybody has ended; the message says who waits for whom."""


@dataclass
class Trace:
    """What happened in virtual time."""

    starts: dict[str, list[float]]
    """Seconds at which each act of a stage began, by its number."""
    ends: dict[str, list[float]]
    """Seconds at which it was done, by its number."""
    max_held: dict[str, int]
    """Most registers that were full at a time, by edge."""
    tally: Tally = field(repr=False)

    @property
    def makespan(self) -> float:
        """Seconds from the start to the end of the last act."""
        return max((max(ends) for ends in self.ends.values() if ends), default=0.0)

    def period(self, stage: str) -> float:
        """Seconds from act to act of `stage`, over the second half of its acts."""
        ends = self.ends[stage]
        half = len(ends) // 2
        if half == len(ends) - 1 or len(ends) < 2:
            raise ValueError(f"the period of '{stage}' needs more than {len(ends)} acts")
        return (ends[-1] - ends[half]) / (len(ends) - 1 - half)


def simulate(
    graph: Graph,
    durations: Mapping[str, Duration],
    items: int,
    watch: Watch | None = None,
    counted: bool = True,
) -> Trace:
    """Plays `graph` until `items` acts of every stage without data inputs have passed through it.

    Stages without a duration take no time. `counted`: whether to fill the tally. Raises GraphError for one
    that cannot run, Deadlock when it stops on the way, and ValueError for a stage that is not there.
    """
    if unknown := set(durations) - set(graph.stages):
        raise ValueError(
            f"durations of {', '.join(sorted(unknown))}: the stages are {', '.join(graph.stages)}"
        )
    now, ticket = 0.0, itertools.count()
    tally = Tally(lambda: now)
    network = Network(graph, tally if counted else None, watch)
    sources = [name for name in graph.stages if not any(not edge.control for edge in graph.into(name))]
    starts: dict[str, list[float]] = {name: [] for name in graph.stages}
    ends: dict[str, list[float]] = {name: [] for name in graph.stages}
    running: list[tuple[float, int, Act]] = []
    touched = set(graph.stages)
    neighbours = {name: _neighbours(graph, name) for name in graph.stages}
    while True:
        while touched:
            name = touched.pop()
            while network.ready(name):
                act = network.begin(name)
                took = durations.get(name, 0.0)
                heapq.heappush(
                    running, (now + (took(act.index) if callable(took) else took), next(ticket), act)
                )
                starts[name].append(now)
                ends[name].append(0.0)
                if name in sources and len(starts[name]) == items:
                    network.finish(name)
        if not running:
            break
        now, _, act = heapq.heappop(running)
        ends[act.stage][act.index] = now
        network.end(act, act.index)
        touched = set(neighbours[act.stage])
    if not network.done:
        waits = [
            f"{name} waits for {on}" for name, actor in network.actors.items() if (on := actor.waits_for())
        ]
        raise Deadlock(
            f"nobody can act after {now:g} s of virtual time: {', '.join(waits) or 'no stage can'}"
        )
    return Trace(starts, ends, {name: pool.max_held for name, pool in network.pools.items()}, tally)


def _neighbours(graph: Graph, name: str) -> set[str]:
    """The stages that an act of `name` may let act: itself, and all it shares an edge with."""
    consumers = {consumer for edge in graph.out_of(name) for consumer in edge.consumers}
    return {name, *consumers, *(edge.producer for edge in graph.into(name))}
