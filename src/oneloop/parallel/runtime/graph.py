"""What an actor runtime runs: stages, and the edges with bounded registers between them.

    graph = Graph()
    graph.stage("read")                      # acted by the caller: `Running.put`
    graph.stage("judge", judge, workers=2)
    graph.stage("learn")                     # the caller again: `Running.get`
    graph.edge("read", "judge", registers=2)
    graph.edge("judge", "learn", registers=2)
    graph.edge("learn", "read", initial=4, control=True)    # at most 4 items between reading and learning

Not here: when a stage acts (network.py), where it runs (threads.py, cluster.py, simulate.py).
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Order = Literal["strict", "completion"]


class GraphError(ValueError):
    """Every fault of a graph, one sentence each in `faults`."""

    def __init__(self, faults: Sequence[str]):
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True)
class GraphStage:
    """A stage: each of its workers takes what the edges bring, one act at a time."""

    name: str
    runs: tuple[Callable[..., Any], ...] = ()
    """One function for each worker. It takes the payloads of the data edges, in the order in which the edges
    were stated, and returns what is passed on; None passes nothing on. Empty: the caller acts."""
    workers: int = 1
    """Acts at a time."""
    order: Order = "strict"
    """strict: results leave in the order in which their inputs came; completion: as they are done."""


@dataclass(frozen=True)
class Edge:
    """A pool of registers that one stage fills and others read; a register is free when all have read it."""

    name: str
    producer: str
    consumers: tuple[str, ...]
    registers: int
    """How many there are: what a producer may be ahead of its slowest consumer."""
    initial: int = 0
    """Registers that wait for the consumers when the graph starts; a cycle needs some."""
    control: bool = False
    """Whether its registers carry no payload."""
    take: int = 1
    """Registers that each act of a consumer takes; more than one arrive as a list."""
    give: int = 1
    """Registers that each act of the producer fills; only a control edge may give more than one."""


@dataclass
class Graph:
    """Stages and edges by name; `check` says what is wrong with them."""

    stages: dict[str, GraphStage] = field(default_factory=dict)
    edges: dict[str, Edge] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    """Sentences about names that were given twice."""

    def stage(
        self, name: str, *runs: Callable[..., Any], workers: int | None = None, order: Order = "strict"
    ) -> str:
        """Adds a stage and gives its name back. One function and `workers` n: all n share it."""
        wanted = workers if workers is not None else max(len(runs), 1)
        if name in self.stages:
            self.twice.append(f"two stages are called '{name}'")
        if len(runs) == 1:
            runs = runs * max(wanted, 1)
        self.stages[name] = GraphStage(name, runs, wanted, order)
        return name

    def edge(
        self,
        producer: str,
        *consumers: str,
        registers: int | None = None,
        initial: int = 0,
        control: bool = False,
        take: int = 1,
        give: int = 1,
        name: str | None = None,
    ) -> str:
        """Adds an edge and gives its name back; `registers` is 2, or what `initial` needs."""
        name = name or f"{producer} -> {', '.join(consumers)}"
        if name in self.edges:
            self.twice.append(f"two edges are called '{name}'; give one of them another `name`")
        count = max(2, initial, take, give) if registers is None else registers
        self.edges[name] = Edge(name, producer, consumers, count, initial, control, take, give)
        return name

    def into(self, stage: str) -> list[Edge]:
        """The edges that `stage` reads."""
        return [edge for edge in self.edges.values() if stage in edge.consumers]

    def out_of(self, stage: str) -> list[Edge]:
        """The edges that `stage` fills."""
        return [edge for edge in self.edges.values() if edge.producer == stage]

    def check(self) -> None:
        """Raises GraphError with every fault that can be seen before anything runs."""
        found = [*self.twice]
        for stage in self.stages.values():
            found += self._stage_faults(stage)
        for edge in self.edges.values():
            found += self._edge_faults(edge)
        if not found and (cycle := self._dead_cycle()):
            found.append(
                f"deadlock: the cycle {' -> '.join(cycle)} has no initial registers, so no stage of it could "
                "ever act first; give one of its edges `initial`"
            )
        if found:
            raise GraphError(found)

    def _stage_faults(self, stage: GraphStage) -> list[str]:
        found = []
        if stage.workers < 1:
            found.append(f"stage '{stage.name}': workers must be at least 1, got {stage.workers}")
        if stage.runs and len(stage.runs) != max(stage.workers, 1):
            found.append(
                f"stage '{stage.name}': {len(stage.runs)} functions for {stage.workers} workers; "
                "give one, or one each"
            )
        if len(self.stages) > 1 and not self.into(stage.name) and not self.out_of(stage.name):
            found.append(f"stage '{stage.name}' reads no edge and fills none")
        return found

    def _edge_faults(self, edge: Edge) -> list[str]:
        where, found = f"edge '{edge.name}'", []
        for name in (edge.producer, *edge.consumers):
            if name not in self.stages:
                near = difflib.get_close_matches(name, self.stages, 1)
                found.append(
                    f"{where}: there is no stage '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")
                )
        if not edge.consumers:
            found.append(f"{where}: no stage reads it")
        if edge.registers < 1:
            found.append(f"{where}: registers must be at least 1, got {edge.registers}")
        for what, least in (("initial", 0), ("take", 1), ("give", 1)):
            value = getattr(edge, what)
            if not least <= value <= max(edge.registers, 1):
                found.append(
                    f"{where}: {what} must be from {least} to registers ({edge.registers}), got {value}"
                )
        if not edge.control and (edge.give > 1 or edge.initial):
            found.append(f"{where}: only a control edge may have `initial` or `give` more than 1 register")
        return found

    def _dead_cycle(self) -> list[str]:
        """Stages of a cycle whose edges all start empty, the first one again at the end; [] without any."""
        after = {
            name: [c for e in self.out_of(name) if e.initial < e.take for c in e.consumers]
            for name in self.stages
        }
        done: set[str] = set()

        def search(path: list[str]) -> list[str]:
            for name in after[path[-1]]:
                if name in path:
                    return [*path[path.index(name) :], name]
                if name not in done and (found := search([*path, name])):
                    return found
            done.add(path[-1])
            return []

        for name in self.stages:
            if name not in done and (found := search([name])):
                return found
        return []
