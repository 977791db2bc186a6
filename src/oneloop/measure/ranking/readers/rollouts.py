"""Our own runs: `rollouts/*.parquet` of a run directory. A model is a run, a sample a prompt.

The score is `correct` where a verifier wrote it, else `reward`, averaged over a run's rollouts of the prompt
(over all its steps: a run that passes over its data twice is its average over training). Runs that met
different prompts are compared on those they share, and through others: that is what the ranking is for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from oneloop.core.recorded import files as recorded_files
from oneloop.measure.ranking.build import from_long
from oneloop.measure.ranking.pool import RankingError, SamplePool
from oneloop.measure.ranking.readers.files import in_file
from oneloop.measure.ranking.readers.parquet import read_parquet, schema_of

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import ReaderOptions

COLUMNS = ("prompt", "correct", "reward")


def read_rollouts(path: Path, how: ReaderOptions) -> SamplePool:
    """A run directory, its rollouts/ folder, or one file of it. Raises RankingError without any verdict."""
    folder = path / "rollouts" if (path / "rollouts").is_dir() else path
    files = recorded(folder) if folder.is_dir() else [folder]
    run = path.resolve() if folder != path else folder.resolve().parent
    name = run.parent.name if run.name == "rollouts" else run.name
    pieces = [piece for file in files if len(piece := in_file(file, lambda file: _judged(file, how.metric)))]
    if not pieces:
        raise RankingError("no rollout has a verdict (columns `correct` or `reward`)")
    table = pa.concat_tables(pieces).group_by("prompt").aggregate([("score", "mean")])
    prompts = table["prompt"].to_pylist()
    columns = {
        "model": [name] * len(prompts),
        "sample_id": [f"prompt {hashlib.blake2b(p.encode(), digest_size=6).hexdigest()}" for p in prompts],
        "score": table["score_mean"],
        "text": prompts,
        "source": ["rollouts"] * len(prompts),
    }
    return from_long(columns, source="source", conflict=how.conflict)


def recorded(folder: Path) -> list[Path]:
    """The files of a run in its rollouts/ folder; every Parquet file of another folder."""
    steps = recorded_files(folder)
    return [*sorted(folder.glob("held-*.parquet")), *steps] if steps else sorted(folder.glob("*.parquet"))


def _judged(file: Path, metric: str) -> pa.Table:
    """prompt, score of the rollouts with a verdict; `metric` names another column, such as reward.length."""
    known = schema_of(file).names
    names = [metric] if metric else [name for name in COLUMNS[1:] if name in known]
    if lacking := [name for name in ("prompt", *names) if name not in known]:
        raise RankingError(f"no column '{lacking[0]}'; there are {', '.join(known)}")
    table = read_parquet(file, ["prompt", *names])
    score = pa.nulls(len(table), pa.float64())
    for name in names:
        try:
            given = table[name].cast(pa.float64())
        except pa.ArrowException:
            raise RankingError(f"'{name}' holds {table[name].type}, not numbers") from None
        score = pc.coalesce(score, pc.if_else(pc.is_nan(given), None, given))
    prompts = table["prompt"].cast(pa.string())
    return pa.table({"prompt": prompts, "score": score}).filter(pc.is_valid(score))
