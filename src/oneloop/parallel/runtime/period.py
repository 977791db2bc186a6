"""How fast a chain of stages goes with so many registers, and how many registers it needs.

    period = max( max_i d_i / w_i,  max_i (d_i + d_{i+1}) / r_i )

d_i: seconds of an act of stage i; w_i: its workers; r_i: registers of the edge behind it. A register is
busy from the start of the act that fills it to the end of the act that reads it, so r_i of them pass at
most r_i items in d_i + d_{i+1}. One register makes neighbours take turns; two are enough where durations do
not vary. A message that takes l seconds adds 2 l to each such pair.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from oneloop.parallel.runtime.graph import Graph
from oneloop.parallel.runtime.simulate import simulate

GROWTH = 0.01
"""Share by which one more register must raise the simulated throughput to be worth it."""


def period(
    durations: Sequence[float],
    registers: Sequence[int],
    workers: Sequence[int] | None = None,
    latency: float = 0.0,
) -> float:
    """Seconds from item to item of a chain in its steady state.

    `registers[i]`: of the edge from stage i to stage i + 1, so one fewer than `durations`.

    >>> period([4, 3, 5], [2, 2]), period([4, 3, 5], [1, 2]), period([4, 3, 5], [2, 1])
    (5.0, 7.0, 8.0)
    """
    each = workers or [1] * len(durations)
    if len(registers) != len(durations) - 1 or len(each) != len(durations):
        raise ValueError(
            f"{len(durations)} stages need {len(durations) - 1} numbers of registers and {len(durations)} of "
            f"workers, got {len(registers)} and {len(each)}"
        )
    if min([*registers, *each], default=1) < 1:
        raise ValueError(f"registers and workers must be at least 1, got {list(registers)} and {list(each)}")
    alone = [seconds / count for seconds, count in zip(durations, each, strict=True)]
    pairs = zip(durations[:-1], durations[1:], registers, strict=True)
    return float(max([*alone, *((a + b + 2 * latency) / r for a, b, r in pairs)]))


def ring_period(durations: Sequence[float], tokens: int, workers: Sequence[int] | None = None) -> float:
    """Seconds from item to item of a chain whose end lets the next one in, with at most `tokens` in it:

        max( max_i d_i / w_i,  (sum_i d_i) / tokens )

    >>> ring_period([2, 3, 1], 1), ring_period([2, 3, 1], 2), ring_period([2, 3, 1], 1, workers=[1, 2, 1])
    (6.0, 3.0, 6.0)
    """
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens}")
    each = workers or [1] * len(durations)
    alone = [seconds / count for seconds, count in zip(durations, each, strict=True)]
    return float(max([*alone, sum(durations) / tokens]))


@dataclass(frozen=True)
class Sizing:
    """Registers of one edge of a chain."""

    edge: str
    registers: int
    bytes: float
    """Of all its registers."""
    before: float
    """Period of the chain with one register on every edge."""
    after: float
    """Period with the registers chosen."""


def size_registers(
    names: Sequence[str],
    traces: Sequence[Sequence[float]],
    sizes: Sequence[float],
    memory: float = math.inf,
    most: int = 16,
) -> list[Sizing]:
    """Registers for each edge of the chain `names` that are worth their memory.

    `traces[i]`: recorded seconds of acts of stage i, all of one length; `sizes[i]`: bytes of a payload of the
    edge behind stage i; `memory`: bytes all registers may take. Every edge starts with one register. While
    that shortens the period above, the edge that holds the chain up most gets one more; then the edge that
    helps most, while the simulated throughput with these traces grows by more than 1 %. Raises ValueError
    when one register on every edge does not fit.
    """
    if len(traces) != len(names) or len(sizes) != len(names) - 1:
        raise ValueError(f"{len(names)} stages need {len(names)} traces and {len(names) - 1} sizes")
    registers = [1] * len(sizes)
    if sum(sizes) > memory:
        raise ValueError(
            f"one register on every edge takes {sum(sizes):g} bytes, more than memory ({memory:g})"
        )
    means = [sum(trace) / len(trace) for trace in traces]

    def fits(edge: int) -> bool:
        used = sum(count * size for count, size in zip(registers, sizes, strict=True))
        return registers[edge] < most and used + sizes[edge] <= memory

    while slow := [i for i in range(len(sizes)) if (means[i] + means[i + 1]) / registers[i] > max(means)]:
        edge = max(slow, key=lambda i: (means[i] + means[i + 1]) / registers[i])
        if not fits(edge):
            break
        registers[edge] += 1
    span = makespan(names, traces, registers)
    while grown := [i for i in range(len(sizes)) if fits(i)]:
        tried = {i: makespan(names, traces, [r + (i == j) for j, r in enumerate(registers)]) for i in grown}
        edge = min(tried, key=lambda i: tried[i])
        if span / tried[edge] - 1 <= GROWTH:
            break
        registers[edge] += 1
        span = tried[edge]
    before = makespan(names, traces, [1] * len(sizes)) / len(traces[0])
    return [
        Sizing(f"{names[i]} -> {names[i + 1]}", count, count * sizes[i], before, span / len(traces[0]))
        for i, count in enumerate(registers)
    ]


def makespan(names: Sequence[str], traces: Sequence[Sequence[float]], registers: Sequence[int]) -> float:
    """Seconds a chain takes for items whose acts take `traces[stage][item]`."""
    graph = chain(names, registers)
    durations = {name: trace.__getitem__ for name, trace in zip(names, traces, strict=True)}
    return simulate(graph, durations, len(traces[0])).makespan


def chain(names: Sequence[str], registers: Sequence[int]) -> Graph:
    """Stages one after the other, `registers[i]` between stage i and stage i + 1."""
    graph = Graph()
    for name in names:
        graph.stage(name)
    for first, second, count in zip(names[:-1], names[1:], registers, strict=True):
        graph.edge(first, second, registers=count)
    return graph
