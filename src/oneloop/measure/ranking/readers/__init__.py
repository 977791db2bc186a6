"""Reads measurements from files of many makers into one pool; `read` finds out which kind each file is.

long        CSV, TSV, Parquet, JSON lines: a row a measurement (model, sample_id, score, dataset ...)
wide        the same files: a row a model, a column a sample
arena       battles: model_a, model_b, winner
alpaca      AlpacaEval annotations.json
lm_eval     samples_TASK_DATE.jsonl of lm-evaluation-harness, or a folder of them
inspect     .eval or .json logs of inspect-ai, or a folder of them
rollouts    a run directory of ours, or its rollouts/*.parquet
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from oneloop.core.text import one_line
from oneloop.measure.ranking.cells import Conflict
from oneloop.measure.ranking.merge import merged
from oneloop.measure.ranking.pool import RankingError, SamplePool
from oneloop.measure.ranking.readers import alpaca, files, inspect_logs, lm_eval, rollouts, tables


@dataclass(frozen=True)
class ReaderOptions:
    """How to read files; each reader takes what concerns it."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """What a table calls model, sample, score, source, model_a, model_b, winner."""
    metric: str = ""
    """Which metric or scorer of a log; default: its first."""
    lower_is_better: Sequence[str] = ()
    """Sources whose scores are turned around."""
    conflict: Conflict = "error"
    """What becomes of two different scores of one model on one sample."""


SUMMARY = re.compile(r"results_\d{4}-\d\d-\d\d.*\.json$")
"""Names of the harness's files of totals."""
LONGEST = 600
"""Characters of a message."""
READERS: dict[str, Callable[[Path, ReaderOptions], SamplePool]] = {
    "long": tables.read_long,
    "wide": tables.read_wide,
    "arena": tables.read_arena,
    "alpaca": alpaca.read_alpaca,
    "lm_eval": lm_eval.read_lm_eval,
    "inspect": inspect_logs.read_inspect,
    "rollouts": rollouts.read_rollouts,
}


def read(paths: Sequence[Path] | Path, kind: str = "", how: ReaderOptions | None = None) -> SamplePool:
    """One pool of all `paths`; `kind` is one of the head's, or empty: found out for each path.

    Raises RankingError for a file of no known kind and for what its reader refuses, naming the file;
    FileNotFoundError where there is none.
    """
    if kind and kind not in READERS:
        raise RankingError(f"format: must be one of {', '.join(READERS)}, got '{kind}'")
    how = how or ReaderOptions()
    if how.conflict not in get_args(Conflict):
        raise RankingError(f"conflict: must be error, first or mean, got '{how.conflict}'")
    pools = []
    for path in [paths] if isinstance(paths, Path) else paths:
        if not path.exists():
            raise FileNotFoundError(f"no such file: {path}")
        pools.append(_read_one(path, kind, how))
    return merged(pools, how.conflict)


def _read_one(path: Path, kind: str, how: ReaderOptions) -> SamplePool:
    """The pool of one path. Whatever goes wrong inside becomes a RankingError that names the path."""
    try:
        return READERS[kind or kind_of(path)](path, how)
    except RankingError as error:
        raise RankingError(f"{one_line(str(path))}: {one_line(str(error), LONGEST)}") from None
    except (OSError, KeyboardInterrupt):
        raise
    except Exception as error:
        # the border to files of others: any shape that a reader did not expect is the file's fault
        words = f"{type(error).__name__}: {one_line(str(error), LONGEST)}"
        raise RankingError(f"{one_line(str(path))}: cannot be read ({words})") from error


def kind_of(path: Path) -> str:
    """Which reader a path is for. Raises RankingError when none is."""
    if path.is_dir():
        return _kind_of_folder(path)
    if path.suffix == ".eval":
        return "inspect"
    if lm_eval.NAME.match(path.name):
        return "lm_eval"
    if path.suffix == ".json":
        return _kind_of_json(path)
    names = set(tables.read_table(path, head=True).column_names)
    if tables.named(names, "model_a", {}) and "winner" in names:
        return "arena"
    if {"prompt", "step", "group"} <= names:
        return "rollouts"
    if tables.named(names, "model", {}):
        return "long" if tables.named(names, "score", {}) and tables.named(names, "sample", {}) else "wide"
    raise RankingError(
        f"no known format: the columns are {', '.join(sorted(names)[:12])}; a table needs model and score, "
        "or model_a, model_b and winner (columns of other names: --column model=NAME)"
    )


def _kind_of_folder(path: Path) -> str:
    if (path / "rollouts").is_dir():
        return "rollouts"
    if any(lm_eval.NAME.match(found.name) for found in path.rglob("samples_*.jsonl")):
        return "lm_eval"
    if next(path.rglob("*.eval"), None) or any(inspect_logs.is_log(found) for found in path.glob("*.json")):
        return "inspect"
    raise RankingError("the folder holds no rollouts/, no samples_*.jsonl and no *.eval")


def _kind_of_json(path: Path) -> str:
    if inspect_logs.is_log(path):
        return "inspect"
    if SUMMARY.match(path.name):
        raise RankingError(
            "is a summary of lm-evaluation-harness, which holds no samples; run it with --log_samples and "
            "give its samples_*.jsonl"
        )
    rows = files.json_rows(path)
    first = rows[0] if rows else {}
    if {"generator_2", "preference"} <= first.keys():
        return "alpaca"
    if "winner" in first:
        return "arena"
    return "long" if tables.named(set(first), "score", {}) else "wide"
