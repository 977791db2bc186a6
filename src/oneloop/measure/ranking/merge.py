"""Pools into one: an outer join by the names of models, samples and sources (ONEBench's growing pool)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from oneloop.measure.ranking.build import objects
from oneloop.measure.ranking.cells import Conflict, cells
from oneloop.measure.ranking.names import among
from oneloop.measure.ranking.pool import Integers, Preferences, RankingError, SamplePool


def merged(pools: Sequence[SamplePool], conflict: Conflict = "error") -> SamplePool:
    """All measurements of `pools`; a sample of one name is one sample, a fact is the first one known.

    Raises RankingError for none, for conflicting scores (see `conflict`), and where pools give a sample
    different sources.
    """
    if not pools:
        raise RankingError("nothing to merge: got 0 pools")
    if len(pools) == 1:
        return pools[0]
    models = sorted({name for pool in pools for name in pool.models})
    sources = sorted({name for pool in pools for name in pool.sources})
    names = list(dict.fromkeys(name for pool in pools for name in pool.samples))
    models_of = [among(models, pool.models) for pool in pools]
    samples_of = [among(names, list(pool.samples)) for pool in pools]
    pairs = list(zip(pools, models_of, samples_of, strict=True))
    made = cells(
        models,
        names,
        np.concatenate([model[pool.model] for pool, model, _ in pairs]),
        np.concatenate([sample[pool.sample] for pool, _, sample in pairs]),
        np.concatenate([pool.value for pool in pools]),
        conflict,
    )
    verdicts = [
        Preferences(model[p.left], model[p.right], sample[p.sample], p.verdict, p.weight)
        for pool, model, sample in pairs
        for p in [pool.preferences]
    ]
    columns = [np.concatenate([getattr(v, name) for v in verdicts]) for name in Preferences.__annotations__]
    origin = _origin(pools, samples_of, sources, names)
    facts = _facts(pools, samples_of, len(names))
    return SamplePool(
        tuple(models), objects(names), tuple(sources), origin, *made, Preferences(*columns), facts
    )


def _origin(
    pools: Sequence[SamplePool], samples_of: Sequence[Integers], sources: list[str], names: list[str]
) -> Integers:
    origin = np.full(len(names), -1)
    for pool, sample in zip(pools, samples_of, strict=True):
        theirs = among(sources, pool.sources)[pool.source]
        clash = np.flatnonzero((origin[sample] >= 0) & (origin[sample] != theirs))
        if len(clash):
            name, two = names[sample[clash[0]]], (origin[sample[clash[0]]], theirs[clash[0]])
            raise RankingError(
                f"the sample '{name}' is of two sources, '{sources[two[0]]}' and '{sources[two[1]]}'"
            )
        origin[sample] = theirs
    return origin


def _facts(pools: Sequence[SamplePool], samples_of: Sequence[Integers], n: int) -> dict[str, list[Any]]:
    facts: dict[str, list[Any]] = {}
    for pool, sample in zip(pools, samples_of, strict=True):
        for name, values in pool.facts.items():
            known = facts.setdefault(name, [None] * n)
            for place, value in zip(sample, values, strict=True):
                known[place] = value if known[place] is None else known[place]
    return facts
