"""Files of a run directory damaged, then resumed: refused in a sentence, or gone on with to equal results.

A run is killed at a random moment, or left to end; then one file of checkpoints, journal, metrics, rollouts
or recipe is cut, flipped in one bit, emptied, deleted, filled with something else, or joined by another.
    python -m benchmarks.reliability.corruption [--tries 100] [--seed 0] [--recipes NAME ...]
"""

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability import forks
from benchmarks.reliability.outcome import Outcome, differences, outcome
from benchmarks.reliability.trials import Runs, Trials, Whole, script

KINDS = (
    "equal results",
    "refused in words",
    "damage said",
    "silently different",
    "tracebacks",
    "failed",
)
FREE = ("environment.json", "report.html", "writer.lock")
"""Files that nothing of a run follows from."""
STRANGE = ("checkpoint-99", "checkpoint-2.bak", "checkpoint-x", "journal/notes", "rollouts/step-x.parquet")
STRANGE += (
    "journal/strange/ask-00000001.entry",
    "held_out/x",
    ".hidden",
    ".x.1-ab.writing",
    "metrics.jsonl.1",
)


def cut(path: Path, draw: random.Random) -> str:
    """Leaves the first part of the file."""
    size = draw.randrange(max(1, path.stat().st_size))
    with path.open("rb+") as file:
        file.truncate(size)
    return f"cut {path.name} to {size} bytes"


def flip(path: Path, draw: random.Random) -> str:
    """Turns one bit round."""
    content = bytearray(path.read_bytes())
    if not content:
        return f"left {path.name} empty"
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"flipped bit {bit} of byte {place} of {path.name}"


def empty(path: Path, draw: random.Random) -> str:
    """Leaves nothing in the file."""
    path.write_bytes(b"")
    return f"emptied {path.name}"


def delete(path: Path, draw: random.Random) -> str:
    """Takes the file away."""
    path.unlink()
    return f"deleted {path.name}"


def fill(path: Path, draw: random.Random) -> str:
    """Replaces the content by as many other bytes, or by text."""
    junk = draw.choice(
        [draw.randbytes(max(1, path.stat().st_size)), b"{}\n", b"null\n", b"[1]\n", b"\xff\xfe"]
    )
    path.write_bytes(junk)
    return f"filled {path.name} with {junk[:8]!r}"


def append(path: Path, draw: random.Random) -> str:
    """Adds bytes at the end."""
    junk = draw.choice([b"\n", b"\0" * 100, b'{"kind": "step"', b'{"kind": "step"}\n'])
    path.write_bytes(path.read_bytes() + junk)
    return f"appended {junk[:16]!r} to {path.name}"


DAMAGES: tuple[Callable[[Path, random.Random], str], ...] = (cut, flip, flip, empty, delete, fill, append)


def foreign(directory: Path, draw: random.Random) -> str:
    """Adds a file or folder that no run wrote, or a copy of one under another number."""
    copies = [path for path in directory.glob("checkpoint-*") if path.is_dir()]
    target = directory / f"checkpoint-{draw.randint(1, 30)}"
    if copies and not target.exists() and draw.random() < 0.4:
        source = draw.choice(copies)
        shutil.copytree(source, target)
        return f"copied {source.name} to {target.name}"
    target = directory / draw.choice(STRANGE)
    target.parent.mkdir(parents=True, exist_ok=True)
    if draw.random() < 0.5:
        target.write_bytes(draw.randbytes(50))
    else:
        (target / "loop").mkdir(parents=True, exist_ok=True)
        (target / "loop" / "state.json").write_text("{}")
    return f"added {target.relative_to(directory)}"


def damaged(directory: Path, draw: random.Random) -> tuple[str, Path | None]:
    """(what was done, the file it was done to): each kind of file is met as often as the next."""
    if draw.random() < 0.12:
        return foreign(directory, draw), None
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        head = path.relative_to(directory).parts[0]
        kinds.setdefault("checkpoint" if head.startswith("checkpoint-") else head, []).append(path)
    path = draw.choice(kinds[draw.choice(sorted(kinds))])
    where = str(path.parent.relative_to(directory))
    return f"{draw.choice(DAMAGES)(path, draw)} in {where}", path


def one(trials: Trials, runs: Runs, draw: random.Random) -> None:
    """Kills a run, damages a file, goes on."""
    whole, directory = runs.draw(draw), runs.directory
    if draw.random() < 0.2:
        shutil.copytree(whole.directory, directory)
    else:
        child = forks.start(forks.command("train", whole.recipe, "--run", directory), directory.parent)
        child.ended(draw.uniform(0.4, 0.95) * whole.seconds)
    if not (directory / "recipe.yaml").exists():
        return
    told, path = damaged(directory, draw)
    own = draw.random() < 0.5  # the run's own recipe, or the file it was started with
    recipe = directory / "recipe.yaml" if own else whole.recipe
    ended = forks.run(directory.parent, "train", recipe, "--run", directory, "--resume")
    counted(trials, whole, directory, ended, f"{whole.name} {told}{' (own recipe)' if own else ''}", path)
    trials.tried()


def counted(
    trials: Trials, whole: Whole, directory: Path, ended: forks.Ended, where: str, path: Path | None
) -> None:
    """Counts what became of the run."""
    if ended.traceback or ended.left:
        return trials.fault("tracebacks", f"{where}: {ended.left} {ended.err[-2500:]}")
    if ended.code == 2 and ended.err.strip():
        print(f"  {where}: {' '.join(ended.err.split())[:300]}")
        trials.counts["refused in words"] += 1
        return None
    if ended.code != 0:
        return trials.fault("failed", f"{where}: exit {ended.code}, {ended.err[-600:]} {ended.out[-600:]}")
    wanted, got = (_results(each) for each in (whole.result, outcome(directory)))
    said = [one for one in differences(wanted, got) if not one.endswith("is too many")]
    if not said:
        trials.counts["equal results"] += 1
        trials.counts["damage said"] += "damage" in ended.out or "cannot be used" in ended.out
    else:
        trials.fault("silently different", f"{where}: {said}; {ended.out[-300:]}")
    return None


def _results(found: Outcome) -> Outcome:
    """Without what was set aside, and without what a run that has ended does not read: journal and earlier
    checkpoints (whoever falls back to one checks it then)."""
    newest = max((_step(name) for name in found if "/" in name), default=0)
    left = {name: value for name, value in found.items() if ".damaged" not in name and "journal" not in name}
    return {name: value for name, value in left.items() if _step(name) in (0, newest)}


def _step(name: str) -> int:
    """The step of the checkpoint that a file belongs to; 0 for other files."""
    number = name.partition("/")[0].removeprefix("checkpoint-")
    return int(number) if name.startswith("checkpoint-") and number.isdigit() else 0


if __name__ == "__main__":
    sys.exit(script("corruption", __doc__ or "", 100, KINDS, one))
