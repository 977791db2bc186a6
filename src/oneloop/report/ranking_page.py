"""A ranking as one HTML file that opens offline: scores with intervals, who beats whom, the samples.

Written like the report of a run (page.py): names and texts reach the page escaped or as JSON shown through
textContent, and a content security policy forbids every request.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from oneloop.core.storage import replace_file
from oneloop.measure.ranking.pool import SamplePool
from oneloop.measure.ranking.ranking import Ranking
from oneloop.measure.ranking.select import spread
from oneloop.report.page import as_json
from oneloop.report.template import filled

MOST_SAMPLES = 300
"""Samples on the page: those a query found, else those that tell models apart best."""
MOST_MODELS = 60
"""Models that the heat map and the sample browser show, from the top."""
LONGEST = 4000
"""Characters that are kept of a sample's text."""
UNITS = {
    "bradley_terry": "log-odds of winning a sample, 0 is the average model",
    "plackett_luce": "log-odds of coming before another model, 0 is the average model",
    "elo": "Elo points",
    "borda": "pairs won",
    "mean": "mean score",
    "macro_mean": "mean over sources of the mean score",
}


def write_ranking_page(
    path: Path,
    pool: SamplePool,
    ranking: Ranking,
    beside: Mapping[str, Ranking],
    *,
    title: str,
    similarity: Sequence[float] | None = None,
) -> Path:
    """Writes the page to `path` and returns it.

    `beside`: other rankings of the same pool, whose places are shown. `similarity` [n]: of the pool's samples
    to a query, in that order.
    """
    replace_file(path, render(pool, ranking, beside, title, similarity))
    return path


def render(
    pool: SamplePool,
    ranking: Ranking,
    beside: Mapping[str, Ranking],
    title: str,
    similarity: Sequence[float] | None = None,
) -> str:
    """The page as text."""
    places = {name: dict(zip(r.models, r.place.tolist(), strict=True)) for name, r in beside.items()}
    shown = browsed(pool, ranking, similarity)
    return filled(
        "ranking.html",
        ("style.css", "ranking.css"),
        ("shared.js", "ranking.js"),
        kind="ranking",
        title=title,
        sentence=sentence(ranking),
        unit=UNITS[ranking.method],
        facts=facts(pool, ranking),
        notes=ranking.notes,
        rows=ranking.rows(),
        axis=axis(ranking),
        places=places,
        components=int(ranking.component.max(initial=0)) + 1,
        heat_models=min(MOST_MODELS, len(ranking.models)),
        samples_shown=len(shown["samples"]),
        samples=len(pool.samples),
        queried=similarity is not None,
        data=as_json(shown | {"heat": heat(ranking)}),
    )


def sentence(ranking: Ranking) -> str:
    """The result in words."""
    first, size = ranking.models[0], int((ranking.component == 0).sum())
    if size < 2:
        return f"{first} is the only model of its group."
    ranges = ranking.places()
    beside = "" if ranges is None else f" It could stand as low as place {ranges[1][0]} of {size}."
    if ranges is not None and ranges[1][0] == 1:
        beside = f" Its lead over {ranking.models[1]} is larger than chance explains."
    if ranking.method not in ("bradley_terry", "plackett_luce"):
        return f"{first} ranks first of {size} models.{beside}"
    middle = float(np.median(ranking.scores[:size]))
    chance = expit(ranking.scores[0] - middle)
    against = f"against the middle one it is ahead {chance:.0%} of the time"
    return f"{first} ranks first of {size} models; {against}.{beside}"


def facts(pool: SamplePool, ranking: Ranking) -> list[tuple[str, str]]:
    """(name, value) of what was ranked."""
    listed = [
        ("Models", f"{len(ranking.models):,}"),
        ("Samples", f"{len(pool.samples):,}"),
        ("Sources", f"{len(pool.sources):,}"),
        ("Scores", f"{len(pool.value):,}"),
        ("Preferences", f"{len(pool.preferences):,}"),
        ("Missing", f"{pool.missing:.1%}"),
        ("Method", ranking.method.replace("_", " ")),
    ]
    return [(name, value) for name, value in listed if value not in ("0", "nan%")]


def axis(ranking: Ranking) -> tuple[float, float]:
    """(lowest, highest) value the intervals are drawn between, with a little room."""
    ends = np.concatenate([ranking.scores, ranking.low, ranking.high])
    ends = ends[np.isfinite(ends)]
    room = 0.02 * float(np.ptp(ends)) or 1.0
    return float(ends.min()) - room, float(ends.max()) + room


def heat(ranking: Ranking) -> dict[str, Any]:
    """Names and win rates (null: never compared) of the best models."""
    rates = ranking.win_rate
    names = list(ranking.models[:MOST_MODELS])
    if rates is None:
        return {"models": names, "rates": []}
    rows = [
        [round(float(rate), 3) if np.isfinite(rate) else None for rate in row[: len(names)]]
        for row in rates[: len(names)]
    ]
    return {"models": names, "rates": rows}


def browsed(pool: SamplePool, ranking: Ranking, similarity: Sequence[float] | None) -> dict[str, Any]:
    """Samples for the browser, each with the scores of the models shown."""
    order = np.arange(len(pool.samples))
    if similarity is None:
        order = np.argsort(-spread(pool), kind="stable")
    order = order[:MOST_SAMPLES]
    small = pool.take(order)
    place = {name: number for number, name in enumerate(ranking.models[:MOST_MODELS])}
    samples = []
    for row, name in enumerate(small.samples):
        cells = slice(small.start[row], small.start[row + 1])
        scores = {
            place[pool.models[model]]: float(f"{value:.4g}")
            for model, value in zip(small.model[cells], small.value[cells], strict=True)
            if pool.models[model] in place
        }
        known = {key: values[row] for key, values in small.facts.items() if values[row] is not None}
        text = str(known.pop("text", ""))
        samples.append(
            {
                "name": name,
                "source": pool.sources[small.source[row]],
                "text": text[:LONGEST] + ("..." if len(text) > LONGEST else ""),
                "facts": {key: str(value)[:200] for key, value in known.items()},
                "similarity": None if similarity is None else round(float(similarity[order[row]]), 3),
                "scores": dict(sorted(scores.items())),
                "measured": int(small.measured[row]),
            }
        )
    return {"samples": samples}
