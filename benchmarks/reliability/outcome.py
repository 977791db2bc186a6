"""What a run left in its directory, without what no two runs share (times): equal to the bit, or a fault."""

import contextlib
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from oneloop.core.storage import Damaged, check_folder, read_entry
from oneloop.run.checkpoint import checkpoints
from oneloop.run.record import read_lines

TIMES = ("time", "step_time", "sample_time", "judge_time", "update_time", "credit_time", "train_time")
OF_TIMES = ("elapsed", "lines_sha256")
OWN = ("environment.json", "checksums.json", "report.html", "writer.lock", "SHA256SUMS", "made_with.entry")
"""Files that differ from run to run."""
Outcome = dict[str, Any]


def outcome(directory: Path) -> Outcome:
    """{file: what it holds} of a run directory: a hash, or for metrics the lines without times."""
    found: Outcome = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        name = str(path.relative_to(directory))
        if path.name in OWN:
            continue
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        with contextlib.suppress(ValueError):  # a damaged file is its bytes
            if name == "metrics.jsonl":
                found[name] = [_timeless(line) for line in read_lines(path)]
            elif path.suffix == ".json":
                found[name] = _timeless(json.loads(path.read_text()))
    return found


def differences(wanted: Outcome, got: Outcome) -> list[str]:
    """Files that are missing, too many or different, in words."""
    said = [f"{name} is missing" for name in wanted if name not in got]
    said += [f"{name} is too many" for name in got if name not in wanted]
    for name in wanted.keys() & got.keys():
        if wanted[name] != got[name]:
            said.append(f"{name} differs{_where(wanted[name], got[name])}")
    return sorted(said)


def rollouts(directory: Path) -> Counter[tuple[str, int]]:
    """How often each rollout, (phase, id), is written down."""
    seen: Counter[tuple[str, int]] = Counter()
    for path in sorted((directory / "rollouts").glob("*.parquet")):
        table = pq.read_table(path, columns=["phase", "id"]).to_pydict()
        seen.update(zip(table["phase"], table["id"], strict=True))
    return seen


def lost_and_doubled(wanted: Counter[tuple[str, int]], got: Counter[tuple[str, int]]) -> tuple[int, int]:
    """Rollouts that are there less often, and more often, than they should be."""
    return (wanted - got).total(), (got - wanted).total()


def broken(directory: Path) -> list[str]:
    """What of a directory, in whatever state, has its final name and is not whole; in words."""
    said = []
    for folder in checkpoints(directory):
        with _saying(said, folder):
            check_folder(folder)
    for path in directory.glob("journal/*/ask-*"):
        with _saying(said, path):
            read_entry(path)
    for path in [*directory.glob("rollouts/*.parquet"), *directory.glob("held_out/*.parquet")]:
        with _saying(said, path):
            pq.read_table(path)
    with _saying(said, directory / "metrics.jsonl"):
        read_lines(directory / "metrics.jsonl")
    return said


def leftovers(directory: Path) -> list[str]:
    """Temporary files, half-deleted folders and locks that a run which ended should not leave."""
    hidden = [str(path.relative_to(directory)) for path in directory.rglob(".*")]
    return hidden + [path.name for path in directory.glob("writer.lock")]


@contextlib.contextmanager
def _saying(said: list[str], path: Path) -> Any:
    try:
        yield
    except (Damaged, OSError, ValueError) as error:
        said.append(f"{path.name}: {error}")


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _timeless(each) for name, each in value.items() if name not in (*TIMES, *OF_TIMES)}
        kept.pop("seconds", None)
        return kept
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _where(wanted: Any, got: Any) -> str:
    if not isinstance(wanted, list) or not isinstance(got, list):
        return ""
    for number, (one, other) in enumerate(zip(wanted, got, strict=False), start=1):
        if one != other:
            names = [name for name in {*one, *other} if one.get(name) != other.get(name)]
            return f" in line {number}: {', '.join(sorted(names)[:5])}"
    return f": {len(got)} lines, not {len(wanted)}"
