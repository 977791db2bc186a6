"""Checksums of the files in which a run records rollouts, so that no damage to them passes unnoticed.

    rollouts/SHA256SUMS  held_out/SHA256SUMS  gallery/SHA256SUMS   a line a file, as `sha256sum -c` reads them

A file's line is written before the file, so a kill between the two leaves no file without its line. Checked
is what a resume cannot make again: steps up to the checkpoint it goes on from, and phases that are over.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from oneloop.core.recorded import ONE, merged
from oneloop.core.storage import Damaged, numbered, replace_file, set_aside

NAME = "SHA256SUMS"
FOLDERS = ("rollouts", "held_out", "gallery")
STEPS = re.compile(r"steps?-(\d{6,})(?:-(\d{6,}))?\.parquet")
PHASE = re.compile(r"held-(.+)\.parquet|(.+)-(?:greedy|sampled)\.parquet")
Sums = dict[str, str]


def note(path: Path, sha256: str) -> None:
    """Remembers the checksum that `path` is about to have."""
    try:
        sums = _read(path.parent)
    except Damaged:  # whoever resumed was told; what is written from now on is known again
        sums = {}
    _write(path.parent, {**sums, path.name: sha256})


def forget_deleted(folder: Path) -> None:
    """Drops the lines of files that are no longer in `folder`."""
    try:
        sums = _read(folder)
    except Damaged:
        return
    if kept := {name: sum for name, sum in sums.items() if (folder / name).exists()}:
        _write(folder, kept)


def verify(directory: Path, last: int, over: Collection[str], accept: bool) -> list[str]:
    """Sentences on files recorded up to step `last`, or of the phases `over`, that are not as written.

    Raises Damaged with all of them, unless they are to be accepted: then what is damaged is set aside.
    """
    found, notes = list[tuple[Path, str]](), list[str]()
    for folder in (directory / name for name in FOLDERS):
        try:
            found += _faults(folder, last, over)
        except Damaged as error:
            notes.append(f"{error}, so whether the files beside it are as they were written is not known")
    if found and not accept:
        words = "; ".join(sentence for _, sentence in found)
        advice = "bring back a copy, or go on without with --accept-changes (nothing is learned from them)"
        raise Damaged(f"{words}; {advice}")
    for path, sentence in found:
        aside = f" and is now {set_aside(path).name}" if path.exists() else ""
        notes.append(f"{sentence}{aside}")
        forget_deleted(path.parent)
    return notes


def sha256(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _faults(folder: Path, last: int, over: Collection[str]) -> Iterator[tuple[Path, str]]:
    for name, sum in _read(folder).items():
        path = folder / name
        if not _settled(name, last, over):
            continue
        if not path.exists():
            if not _elsewhere(folder, name, last):
                yield path, f"{path} is missing"
        elif sha256(path) != sum:
            yield path, f"{path} is not what was written (checksum)"


def _settled(name: str, last: int, over: Collection[str]) -> bool:
    """Whether no resume from step `last` writes the file again."""
    if steps := STEPS.fullmatch(name):
        return int(steps[1]) <= last
    phase = PHASE.fullmatch(name)
    return phase is not None and (phase[1] or phase[2]) in over


def _elsewhere(folder: Path, name: str, last: int) -> bool:
    """Whether other files hold the steps of the file `name`: a kill came while files were merged."""
    steps = STEPS.fullmatch(name)
    if steps is None:
        return False
    held = {number for span in merged(folder).values() for number in span} | set(numbered(folder, ONE))
    return held >= set(range(int(steps[1]), min(last, int(steps[2] or steps[1])) + 1))


def _read(folder: Path) -> Sums:
    """The checksums in `folder`; {} where there are none. Raises Damaged when they are not as written."""
    path = folder / NAME
    if not path.exists():
        return {}
    *lines, end = path.read_bytes().decode(errors="replace").splitlines() or [""]
    if end != _seal(lines):
        raise Damaged(f"{path} is damaged")
    return {name: sum for sum, _, name in (line.partition("  ") for line in lines)}


def _write(folder: Path, sums: Sums) -> None:
    lines = [f"{sum}  {name}" for name, sum in sorted(sums.items())]
    replace_file(folder / NAME, "\n".join([*lines, _seal(lines)]) + "\n")


def _seal(lines: list[str]) -> str:
    """The last line: a comment with the checksum of those above it."""
    return f"# {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
