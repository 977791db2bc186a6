"""Sorts measurements into a pool's cells: sample after sample, worst score first; settles conflicts."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oneloop.measure.ranking.pool import MOST, Floats, Integers, RankingError

Conflict = Literal["error", "first", "mean"]
Cells = tuple[Integers, NDArray[np.int32], Floats]


def cells(
    models: Sequence[str],
    samples: Sequence[str],
    model: NDArray[Any],
    sample: NDArray[Any],
    value: Floats,
    conflict: Conflict,
) -> Cells:
    """(start [n + 1], model [c], value [c]) of a pool from r measurements in any order; NaN is left out.

    Raises RankingError where a cell has two different scores and `conflict` is error, and for infinity.
    """
    if np.isinf(value).any():
        row = int(np.flatnonzero(np.isinf(value))[0])
        raise RankingError(f"'{models[model[row]]}' on '{samples[sample[row]]}': the score is {value[row]}")
    key = sample.astype(np.int64) * len(models) + model
    if (unknown := np.isnan(value)).any():
        key, value = key[~unknown], value[~unknown]
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        key, value = key[order], value[order]
    if (repeated := key[1:] == key[:-1]).any():
        key, value = settled(models, samples, key, value, repeated, conflict)
    start = np.searchsorted(key, np.arange(len(samples) + 1) * len(models))
    return (start, *ascending(start, (key % max(1, len(models))).astype(np.int32), value))


def settled(
    models: Sequence[str],
    samples: Sequence[str],
    key: Integers,
    value: Floats,
    repeated: NDArray[np.bool_],
    conflict: Conflict,
) -> tuple[Integers, Floats]:
    """One score a cell. Equal scores are no conflict."""
    first = np.flatnonzero(np.concatenate([[True], ~repeated]))
    if conflict == "mean":
        return key[first], np.add.reduceat(value, first) / np.diff([*first, len(key)])
    differs = np.flatnonzero(repeated & (value[1:] != value[:-1]))
    if conflict == "error" and len(differs):
        sample, model = divmod(int(key[differs[0]]), len(models))
        both = f"{value[differs[0]]:g} and {value[differs[0] + 1]:g}"
        raise RankingError(
            f"'{models[model]}' on '{samples[sample]}' has the scores {both} ({len(differs)} conflicts); "
            "say conflict='first' or 'mean', or tell the sources apart"
        )
    return key[first], value[first]


def ascending(start: Integers, model: NDArray[np.int32], value: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Each sample's cells by score, equal scores by model; works on samples of one size at a time."""
    counts = np.diff(start)
    model, value = model.copy(), value.copy()
    by_size = np.argsort(counts, kind="stable")
    edges = np.flatnonzero(np.diff(counts[by_size], prepend=-1))
    for first, last in zip(edges, [*edges[1:], len(by_size)], strict=True):
        k = int(counts[by_size[first]])
        step = max(1, MOST // max(1, k))
        for begin in range(first, last, step) if k > 1 else ():
            places = start[by_size[begin : min(begin + step, last)]][:, None] + np.arange(k)
            order = np.argsort(value[places], axis=1, kind="stable")
            sorted_places = np.take_along_axis(places, order, axis=1)
            model[places], value[places] = model[sorted_places], value[sorted_places]
    return model, value


def directed(
    value: Floats,
    sources: Sequence[str],
    source: Integers,
    sample: Integers,
    higher_is_better: bool | Mapping[str, bool],
) -> Floats:
    """`value` [r], negated where lower is better. Raises RankingError for a source there is not."""
    if isinstance(higher_is_better, bool):
        return value if higher_is_better else -value
    unknown = [name for name in higher_is_better if name not in sources]
    if unknown:
        raise RankingError(
            f"higher_is_better: no source is called '{unknown[0]}'; there are {', '.join(sources)}"
        )
    sign = np.array([1.0 if higher_is_better.get(name, True) else -1.0 for name in sources])
    return np.asarray(value * sign[source[sample]])
