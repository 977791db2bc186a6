"""Filters over what is known of samples: `subject=physics`, `level>=3`, `text~area`, `len(text)<200`.

=, !=, >, >=, <, <= compare numbers where both sides are, else words; ~ is "contains" (words: in any case;
lists: an element). Dots reach into nested facts (`doc.subject`). `source` and `sample` are facts of every
pool. What is unknown of a sample matches nothing. Several filters must all hold.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from oneloop.measure.ranking.pool import RankingError, SamplePool

CONDITION = re.compile(
    r"\s*(?:len\((?P<of>[^)]+)\)|(?P<fact>[^=!<>~]+?))\s*(?P<sign>!=|>=|<=|=|>|<|~)\s*(?P<value>.*)$"
)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def where(pool: SamplePool, *conditions: str) -> SamplePool:
    """The samples for which all `conditions` hold, perhaps none.

    Raises RankingError for what is no condition and for a fact the pool does not have.
    """
    kept = np.ones(len(pool.samples), dtype=bool)
    for condition in conditions:
        found = CONDITION.match(condition)
        if not found:
            raise RankingError(f"'{condition}' is no condition; write fact=value, or !=, >, >=, <, <=, ~")
        values = fact(pool, (found["of"] or found["fact"]).strip())
        if found["of"]:
            values = [None if value is None else len(value) for value in values]
        kept &= [value is not None and holds(value, found["sign"], found["value"]) for value in values]
    return pool.take(kept)


def fact(pool: SamplePool, name: str) -> Sequence[Any]:
    """n values of the fact `name`, None where unknown. Raises RankingError for one there is not."""
    if name in ("sample", "source"):
        return list(pool.samples) if name == "sample" else [pool.sources[source] for source in pool.source]
    if name in pool.facts:
        return pool.facts[name]
    first, *rest = name.split(".")
    if not rest or first not in pool.facts:
        known = ", ".join(["sample", "source", *pool.facts])
        raise RankingError(f"nothing called '{name}' is known of samples; there are {known}")
    values = pool.facts[first]
    for key in rest:
        values = [value.get(key) if isinstance(value, Mapping) else None for value in values]
    return values


def holds(value: Any, sign: str, wanted: str) -> bool:
    """Does `value` stand in this relation to the word `wanted`?"""
    if sign == "~":
        if isinstance(value, list | tuple):
            return any(str(item) == wanted for item in value)
        return wanted.lower() in str(value).lower()
    try:
        return COMPARE[sign](float(value), float(wanted))
    except (TypeError, ValueError):
        return COMPARE[sign](str(value), wanted)
