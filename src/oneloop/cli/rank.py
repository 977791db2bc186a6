"""`oneloop rank`: reads scores, filters and queries samples, ranks models, prints and writes the ranking."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from oneloop.cli.terminal import console, say
from oneloop.cli.written import new_file
from oneloop.core.destinations import check_apart
from oneloop.core.storage import replace_file
from oneloop.measure.ranking import Ranking, RankingError, SamplePool, rank
from oneloop.measure.ranking.cells import Conflict
from oneloop.measure.ranking.elo import MOST_GAMES
from oneloop.measure.ranking.query import query as query_of
from oneloop.measure.ranking.ranking import Method
from oneloop.measure.ranking.readers import READERS, ReaderOptions, read
from oneloop.measure.ranking.readers.tables import ALIASES
from oneloop.measure.ranking.select import informative as informative_of
from oneloop.measure.ranking.where import where as where_of
from oneloop.measure.text_similarity import TFIDF
from oneloop.report.ranking_page import write_ranking_page


def rank_models(
    files: Annotated[list[Path], typer.Argument(help="Tables, logs or run directories.")],
    format: Annotated[
        str, typer.Option(help=f"Format of the files, of {', '.join(READERS)}; default: detected.")
    ] = "",
    method: Annotated[Method, typer.Option(help="How to rank.")] = "bradley_terry",
    query: Annotated[str, typer.Option(help="Rank on the samples nearest to these words.")] = "",
    answer: Annotated[
        str, typer.Option(help="Of these samples, rank on those with answers nearest to these words.")
    ] = "",
    where: Annotated[
        list[str] | None, typer.Option(help="Filter, e.g. 'subject=physics'; repeatable.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Most samples that a query retrieves.")] = 100,
    threshold: Annotated[float, typer.Option(help="Least similarity to the query.")] = 0.0,
    encoder: Annotated[
        str, typer.Option(help="Model or folder of sentence-transformers; default TF-IDF.")
    ] = "",
    informative: Annotated[
        int, typer.Option(help="Rank on this many samples, the most informative; 0: all.")
    ] = 0,
    metric: Annotated[str, typer.Option(help="Metric, scorer or column of logs; default the first.")] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="Name of a column in a table, e.g. score=acc; repeatable.")
    ] = None,
    lower_is_better: Annotated[
        list[str] | None, typer.Option(help="Source whose lower scores are better; repeatable.")
    ] = None,
    conflict: Annotated[Conflict, typer.Option(help="What to do with two scores of one cell.")] = "error",
    tie_weight: Annotated[float, typer.Option(help="Wins that a tie gives to each side.")] = 1.0,
    tie_tolerance: Annotated[float, typer.Option(help="Scores of a sample this close are ties.")] = 0.0,
    prior: Annotated[float, typer.Option(help="Precision of the Gaussian prior; 0: none.")] = 1e-2,
    separate: Annotated[
        bool, typer.Option("--separate", help="Rank groups of models without common samples apart.")
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(help="Resamples for intervals; 0: cluster-robust standard errors.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of resamples, draws and the order of Elo.")] = 0,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="File to write: .html, .csv or .json; repeatable.", callback=new_file),
    ] = None,
) -> None:
    """Rank models from scores and preferences on single samples.

    Most of the scores may be missing.

    Example: oneloop rank scores.csv --query "long division" --out ranking.html
    """
    for path in out or ():
        if path.suffix not in WRITERS:
            raise RankingError(f"--out: {path} must end in {', '.join(WRITERS)}")
        check_apart(path, *files)
    how = ReaderOptions(named_columns(column or []), metric, tuple(lower_is_better or ()), conflict)
    pool = read(files, format, how)
    say(describe(pool))
    found = RankedPool(pool)
    if where:
        found = fitting(found, where)
    if query:
        asked = {"embedder": encoder or TFIDF, "top_k": top_k, "threshold": threshold, "answer": answer}
        found = nearest_samples(found, query, **asked)
    if informative:
        found = RankedPool(informative_of(found.pool, informative, seed))
        say(f"{len(found.pool.samples)} informative samples drawn")
    options: dict[str, Any] = {"tie_weight": tie_weight, "tie_tolerance": tie_tolerance, "seed": seed}
    options |= {"prior_precision": prior, "disconnected": "separate" if separate else "refuse"}
    ranking = rank(found.pool, method, bootstrap=bootstrap, **options)
    beside = others(found.pool, ranking, options)
    for note in ranking.notes:
        say(note)
    console.print(table(ranking, beside))
    title = query or ", ".join(path.name for path in files[:3]) + (" ..." if len(files) > 3 else "")
    for path in out or ():
        if path.suffix == ".html":
            write_ranking_page(path, found.pool, ranking, beside, title=title, similarity=found.similarity)
        else:
            replace_file(path, WRITERS[path.suffix](ranking))
        say(f"written: {path}")


class RankedPool(NamedTuple):
    """Samples to rank on."""

    pool: SamplePool
    similarity: Sequence[float] | None = None
    """Similarity of each sample to the query, where there is one."""


def named_columns(words: Sequence[str]) -> dict[str, str]:
    """`what=column` of a command line. Raises RankingError for other words."""
    for word in words:
        if word.partition("=")[0] not in ALIASES or not word.partition("=")[2]:
            raise RankingError(f"--column: must be one of {', '.join(ALIASES)}, then =NAME, got '{word}'")
    return {what: name for what, _, name in (word.partition("=") for word in words)}


def fitting(found: RankedPool, conditions: Sequence[str]) -> RankedPool:
    """The samples that meet `conditions`, after saying how many. Raises RankingError where none does."""
    pool = where_of(found.pool, *conditions)
    if not len(pool.samples):
        raise RankingError(f"no sample fits {', '.join(conditions)}")
    say(f"{len(pool.samples)} of {len(found.pool.samples)} samples fit {', '.join(conditions)}")
    return RankedPool(pool)


def nearest_samples(found: RankedPool, text: str, **limits: Any) -> RankedPool:
    """The samples nearest to `text`, after saying how many. Raises RankingError where none is near."""
    nearest = query_of(found.pool, text, **limits)
    if not len(nearest.pool.samples):
        raise RankingError(nearest.message)
    say(nearest.message)
    return RankedPool(nearest.pool, nearest.similarity.tolist())


def describe(pool: SamplePool) -> str:
    """The pool of samples described in one line."""
    counted = f"{len(pool.models):,} models, {len(pool.samples):,} samples of {len(pool.sources):,} sources"
    preferences = f", {len(pool.preferences):,} preferences" if len(pool.preferences) else ""
    return f"{counted}: {len(pool.value):,} scores, {pool.missing:.1%} missing{preferences}"


def others(pool: SamplePool, ranking: Ranking, options: Mapping[str, Any]) -> dict[str, Ranking]:
    """Rankings by other methods that this pool allows, without intervals."""
    found: dict[str, Ranking] = {}
    games = int((pool.measured * (pool.measured - 1) // 2).sum()) + len(pool.preferences)
    baselines: tuple[Method, ...] = ("mean", "macro_mean", "borda", "elo")
    for method in baselines:
        affordable = games <= MOST_GAMES // 10 or method != "elo"
        if method != ranking.method and affordable and (len(pool.value) or "mean" not in method):
            try:
                found[method] = rank(pool, method, errors="none", **options)
            except RankingError:  # a model with preferences only has no mean
                continue
    return found


def table(ranking: Ranking, beside: Mapping[str, Ranking]) -> Table:
    """A table for the terminal: score, 95 % interval, possible places, and the places by other methods."""
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


FORMULA = re.compile(r"^[=+\-@\t\r]")
"""Beginnings of a cell that spreadsheets compute."""


def as_csv(ranking: Ranking) -> str:
    """A row a model. A name that a spreadsheet would take for a formula gets an apostrophe before it."""
    rows, file = ranking.rows(), io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "model": FORMULA.sub(r"'\g<0>", row["model"])} for row in rows)
    return file.getvalue()


def as_json(ranking: Ranking) -> str:
    """The ranking as JSON: its rows and all else that is known of it."""
    about = {name: getattr(ranking, name) for name in ("method", "steps", "converged", "notes")}
    about |= {name: getattr(ranking, name) for name in ("unbeaten", "winless", "unmeasured")}
    return json.dumps({**about, "models": ranking.rows()}, indent=1) + "\n"


WRITERS: dict[str, Any] = {".csv": as_csv, ".json": as_json, ".html": None}
