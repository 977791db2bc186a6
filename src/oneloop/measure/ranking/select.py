"""Smaller pools: fewer models, fewer measurements (how robust is a ranking), the samples that tell most.

Every draw is a function of (seed, sample, model), so it does not depend on the order of anything.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oneloop.core import draws
from oneloop.measure.ranking.pool import Floats, Preferences, RankingError, SamplePool, blocks


def keep_cells(pool: SamplePool, kept: NDArray[np.bool_]) -> SamplePool:
    """The pool less the cells that are not `kept` [c]; samples and models stay."""
    start = np.concatenate([[0], np.cumsum(kept)])[pool.start]
    return SamplePool(
        pool.models, pool.samples, pool.sources, pool.source, start,
        pool.model[kept], pool.value[kept], pool.preferences, pool.facts,
    )  # fmt: skip


def only_models(pool: SamplePool, kept: NDArray[np.bool_]) -> SamplePool:
    """The pool of the models in `kept` [m], with the preferences among them."""
    left, right = pool.preferences.left, pool.preferences.right
    smaller = keep_cells(pool, kept[pool.model])
    number = np.cumsum(kept) - 1
    pairs = pool.preferences.at(kept[left] & kept[right])
    among = Preferences(number[pairs.left], number[pairs.right], pairs.sample, pairs.verdict, pairs.weight)
    return SamplePool(
        tuple(name for name, keep in zip(pool.models, kept, strict=True) if keep), pool.samples, pool.sources,
        pool.source, smaller.start, number[smaller.model].astype(np.int32), smaller.value, among, pool.facts,
    )  # fmt: skip


def sparsify(
    pool: SamplePool, fraction: float, mode: Literal["entries", "samples"] = "entries", seed: int = 0
) -> SamplePool:
    """The pool with `fraction` of its cells blanked (ONEBench's two protocols).

    `entries`: of each model on its own, ceil(fraction of its cells), at random. `samples`: whole samples;
    int((1 - fraction) n) stay. Preferences stay with `entries` and go with their samples.
    Raises RankingError for a fraction outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise RankingError(f"fraction: must be at least 0 and below 1, got {fraction}")
    if mode == "samples":
        drawn = draws.uniforms(draws.mix(seed, "samples"), np.arange(len(pool.samples)))
        # what 1 - fraction lacks through rounding must not cost a sample
        return pool.take(np.sort(np.argsort(drawn)[: int((1 - fraction) * len(drawn) + 1e-9)]))
    drawn = draws.uniforms(draws.mix(seed, "entries", pool.model.astype(np.int64)), pool.sample)
    count = np.bincount(pool.model, minlength=len(pool.models))
    order = np.lexsort((drawn, pool.model))
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    return keep_cells(pool, position >= np.ceil(fraction * count - 1e-9)[pool.model])


def spread(pool: SamplePool) -> Floats:
    """float64 [n], chance that two measurements drawn from a sample with replacement differ; 0 if alone.

    For binary scores 2 p (1 - p), highest where half of the models solve the sample; the more levels the
    higher.
    """
    found = np.zeros(len(pool.samples))
    sample = pool.sample
    for block in blocks(pool):
        k = block.level.shape[1]
        row = np.repeat(np.arange(len(block.level)), k)
        share = np.bincount(row * k + block.level.ravel(), minlength=len(block.level) * k).reshape(-1, k) / k
        found[sample[block.cells[:, 0]]] = 1 - (share**2).sum(axis=1)
    return found


def informative(pool: SamplePool, size: int, seed: int = 0) -> SamplePool:
    """`size` samples drawn without replacement from the 10 `size` of highest `spread` (ONEBench, code).

    Raises RankingError where the pool has fewer than `size`.
    """
    n = len(pool.samples)
    if not 1 <= size <= n:
        raise RankingError(f"size: must be 1 to {n}, the samples there are, got {size}")
    best = np.argsort(-spread(pool), kind="stable")[: 10 * size]
    drawn = draws.uniforms(draws.mix(seed, "informative"), best)
    return pool.take(np.sort(best[np.argsort(drawn)[:size]]))


def random_samples(pool: SamplePool, size: int, seed: int = 0) -> SamplePool:
    """`size` samples at random, to compare `informative` with. Raises RankingError as that does."""
    if not 1 <= size <= len(pool.samples):
        raise RankingError(f"size: must be 1 to {len(pool.samples)}, the samples there are, got {size}")
    drawn = draws.uniforms(draws.mix(seed, "random samples"), np.arange(len(pool.samples)))
    return pool.take(np.sort(np.argsort(drawn)[:size]))
