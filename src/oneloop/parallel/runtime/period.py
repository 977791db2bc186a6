"""How fast a chain of stages goes with so many registers.

    period = max( max_i d_i / w_i,  max_i (d_i + d_{i+1}) / r_i )

d_i: seconds of an act of stage i; w_i: its workers; r_i: registers of the edge behind it. A register is
busy from the start of the act that fills it to the end of the act that reads it, so r_i of them pass at
most r_i items in d_i + d_{i+1}. One register makes neighbours take turns; two are enough where durations do
not vary. A message that takes l seconds adds 2 l to each such pair.
"""

from collections.abc import Sequence

from oneloop.parallel.runtime.graph import Graph


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


def chain(names: Sequence[str], registers: Sequence[int]) -> Graph:
    """Stages one after the other, `registers[i]` between stage i and stage i + 1."""
    graph = Graph()
    for name in names:
        graph.stage(name)
    for first, second, count in zip(names[:-1], names[1:], registers, strict=True):
        graph.edge(first, second, registers=count)
    return graph
