"""What `oneloop rank` does: read, filter, query, rank, print, write."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oneloop.core.storage import replace_file
from oneloop.measure.ranking import Ranking, RankingError, SamplePool, rank
from oneloop.measure.ranking.elo import MOST_GAMES
from oneloop.measure.ranking.query import query, sentence_encoder
from oneloop.measure.ranking.readers import Reading, read
from oneloop.measure.ranking.readers.tables import ALIASES
from oneloop.measure.ranking.select import informative
from oneloop.measure.ranking.where import where
from oneloop.report.ranking_page import write_ranking_page


@dataclass(frozen=True)
class Asked:
    """Which samples, found how, and where the result goes."""

    conditions: Sequence[str] = ()
    text: str = ""
    answer: str = ""
    top_k: int = 100
    threshold: float = 0.0
    encoder: str = ""
    informative: int = 0
    out: Sequence[Path] = ()


def named_columns(words: Sequence[str]) -> dict[str, str]:
    """`what=column` of a command line. Raises RankingError for other words."""
    for word in words:
        if word.partition("=")[0] not in ALIASES or not word.partition("=")[2]:
            raise RankingError(f"--column: must be one of {', '.join(ALIASES)}, then =NAME, got '{word}'")
    return {what: name for what, _, name in (word.partition("=") for word in words)}


def rank_files(
    files: Sequence[Path],
    kind: str,
    how: Reading,
    asked: Asked,
    options: Mapping[str, Any],
    console: Console,
) -> Ranking:
    """Ranks what `files` hold, prints the table and writes `asked.out`; `options` are those of `rank`.

    Raises RankingError for what cannot be read, found or ranked.
    """
    for path in asked.out:
        if path.suffix not in WRITERS:
            raise RankingError(f"--out: {path} must end in {', '.join(WRITERS)}")
    pool = read(files, kind, how)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False)

    say(describe(pool))
    pool, similarity, words = chosen(pool, asked, options.get("seed", 0))
    for sentence in words:
        say(sentence)
    ranking = rank(pool, **options)
    beside = others(pool, ranking, options)
    for note in ranking.notes:
        say(note)
    console.print(table(ranking, beside))
    title = asked.text or ", ".join(path.name for path in files[:3]) + (" ..." if len(files) > 3 else "")
    for path in asked.out:
        if path.suffix == ".html":
            write_ranking_page(path, pool, ranking, beside, title=title, similarity=similarity)
        else:
            replace_file(path, WRITERS[path.suffix](ranking))
        say(f"written: {path}")
    return ranking


def describe(pool: SamplePool) -> str:
    """The pool in one line."""
    counted = f"{len(pool.models):,} models, {len(pool.samples):,} samples of {len(pool.sources):,} sources"
    preferences = f", {len(pool.preferences):,} preferences" if len(pool.preferences) else ""
    return f"{counted}: {len(pool.value):,} scores, {pool.missing:.1%} missing{preferences}"


def chosen(pool: SamplePool, asked: Asked, seed: int) -> tuple[SamplePool, Sequence[float] | None, list[str]]:
    """(the samples asked for, their similarity to the query if there is one, sentences to print).

    Raises RankingError where filters or query leave none.
    """
    words, similarity = [], None
    if asked.conditions:
        before, pool = len(pool.samples), where(pool, *asked.conditions)
        words.append(f"{len(pool.samples)} of {before} samples fit {', '.join(asked.conditions)}")
        if not len(pool.samples):
            raise RankingError(f"no sample fits {', '.join(asked.conditions)}")
    if asked.text:
        embed = sentence_encoder(asked.encoder) if asked.encoder else None
        limits = {"top_k": asked.top_k, "threshold": asked.threshold, "answer": asked.answer}
        found = query(pool, asked.text, embed=embed, **limits)  # type: ignore[arg-type]
        words.append(found.message)
        if not len(found.pool.samples):
            raise RankingError(found.message)
        pool, similarity = found.pool, found.similarity.tolist()
    if asked.informative:
        pool, similarity = informative(pool, asked.informative, seed), None
        words.append(f"{len(pool.samples)} informative samples drawn")
    return pool, similarity, words


def others(pool: SamplePool, ranking: Ranking, options: Mapping[str, Any]) -> dict[str, Ranking]:
    """The baselines that can be had of this pool, without intervals."""
    rest = {name: value for name, value in options.items() if name not in ("method", "bootstrap")}
    found = {}
    games = int((pool.measured * (pool.measured - 1) // 2).sum()) + len(pool.preferences)
    for method in ("mean", "macro_mean", "borda", "elo"):
        affordable = games <= MOST_GAMES // 10 or method != "elo"
        if method != ranking.method and affordable and (len(pool.value) or "mean" not in method):
            try:
                found[method] = rank(pool, method, **{**rest, "errors": "none"})  # type: ignore[arg-type]
            except RankingError:  # a model with preferences only has no mean
                continue
    return found


def table(ranking: Ranking, beside: Mapping[str, Ranking]) -> Table:
    """For a terminal: score, 95 % interval, open places; and the place that other methods give."""
    made = Table("place", "model", box=None, header_style="bold", pad_edge=False)
    for name in (
        "score",
        "95 % interval",
        "places",
        "measured",
        *(name.replace("_", " ") for name in beside),
    ):
        made.add_column(name, justify="right")
    places = [dict(zip(r.models, r.place.tolist(), strict=True)) for r in beside.values()]
    before = 0
    for row in ranking.rows():
        if row["component"] != before:
            made.add_section()
            before = row["component"]
        interval = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        best, worst = row["best_place"], row["worst_place"]
        open_places = "" if best is None else f"{best}" if best == worst else f"{best} to {worst}"
        cells = [
            interval,
            open_places,
            f"{row['measurements']:,}",
            *(str(p.get(row["model"], "")) for p in places),
        ]
        made.add_row(str(row["place"]), escape(row["model"]), f"{row['score']:.3f}", *cells)
    return made


def as_csv(ranking: Ranking) -> str:
    """A row a model."""
    rows, file = ranking.rows(), io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_json(ranking: Ranking) -> str:
    """The rows, and what else is known of the ranking."""
    about = {name: getattr(ranking, name) for name in ("method", "steps", "converged", "notes")}
    about |= {name: getattr(ranking, name) for name in ("unbeaten", "winless", "unmeasured")}
    return json.dumps({**about, "models": ranking.rows()}, indent=1) + "\n"


WRITERS: dict[str, Any] = {".csv": as_csv, ".json": as_json, ".html": None}
