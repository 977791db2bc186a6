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
import pyarrow.parquet

from oneloop.measure.ranking.build import from_long
from oneloop.measure.ranking.pool import RankingError, SamplePool

if TYPE_CHECKING:
    from oneloop.measure.ranking.readers import Reading

COLUMNS = ("prompt", "correct", "reward")


def read_rollouts(path: Path, how: Reading) -> SamplePool:
    """A run directory, its rollouts/ folder, or one step's file. Raises RankingError without any verdict."""
    folder = path / "rollouts" if (path / "rollouts").is_dir() else path
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
    run = path.resolve() if folder != path else folder.resolve().parent
    name = run.parent.name if run.name == "rollouts" else run.name
    pieces = [piece for file in files if len(piece := _judged(file, how.metric))]
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


def _judged(file: Path, metric: str) -> pa.Table:
    """prompt, score of the rollouts with a verdict; `metric` names another column, such as reward.length."""
    schema = pyarrow.parquet.read_schema(file)
    names = [metric] if metric else [name for name in COLUMNS[1:] if name in schema.names]
    if metric and metric not in schema.names:
        raise RankingError(f"{file.name} has no column '{metric}'; there are {', '.join(schema.names)}")
    table = pyarrow.parquet.read_table(file, columns=["prompt", *names])
    score = pa.nulls(len(table), pa.float64())
    for name in names:
        known = table[name].cast(pa.float64())
        score = pc.coalesce(score, pc.if_else(pc.is_nan(known), None, known))
    return pa.table({"prompt": table["prompt"], "score": score}).filter(pc.is_valid(score))
