"""Which code made a result: a digest of each module that ran, comments and docstrings left out."""

import ast
import hashlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PLACES = (ROOT / "src" / "oneloop", ROOT / "benchmarks" / "claims")
HARNESS = {"__init__", "__main__", "bases", "claim", "code", "intervals", "registry", "running", "tuning"}
"""Files of this folder that every claim runs through, and none computes with."""

SEARCHED = 300
"""Commits among which the one that made a result is looked for."""
WORDS = {"paper", "recipe", "says", "claim", "work", "only_under", "found", "at_best"}
"""Fields of a claim that say something and compute nothing."""
_watching: list[set[str]] = []


@contextmanager
def watched(ran: set[str]) -> Iterator[None]:
    """Adds to `ran` every file of the project of which a function is called in this thread meanwhile."""
    roots = tuple(f"{place}/" for place in PLACES)
    seen: dict[str, None] = {}
    _watching.append(ran)

    def called(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen[frame.f_code.co_filename] = None

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(before)
        _watching.pop()
        ran.update(str(Path(name).relative_to(ROOT)) for name in seen if name.startswith(roots))


def add(files: Iterable[str]) -> None:
    """Counts `files` among those that run now: what is loaded, they have made."""
    for ran in _watching:
        ran.update(files)


def digests(files: set[str]) -> dict[str, str]:
    """{file, from the project's root: digest of what it does}, the harness left out."""
    own = {file for file in files if not (Path(file).parent.name == "claims" and Path(file).stem in HARNESS)}
    return {file: digest(ROOT / file) for file in sorted(own)}


@cache
def digest(path: Path) -> str:
    """12 hex digits of the code at `path`; see `digest_of`."""
    return digest_of(path.read_text())


@cache
def digest_of(program: str) -> str:
    """12 hex digits of a program: comments, docstrings, layout and a claim's words do not count."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Claim":
            node.keywords = [each for each in node.keywords if each.arg not in WORDS]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [line for line in body if not _is_text(line)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


def _is_text(node: ast.AST) -> bool:
    """A string that stands alone: a docstring, or the meaning of an option below it."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def changed(stored: Mapping[str, str]) -> list[str]:
    """Files of a stored result that say something else now, or are gone."""
    return [file for file, was in stored.items() if not (ROOT / file).is_file() or digest(ROOT / file) != was]


def commit() -> str | None:
    """The commit in the project's clone, '+' behind it when files have changed since; None without git."""
    try:
        return git("rev-parse", "--short=10", "HEAD") + (
            "+" if git("status", "--porcelain", "src", "benchmarks") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def commit_of(stored: Mapping[str, str]) -> str | None:
    """The latest commit whose files are those of a stored result; None where there is none, or no git."""
    other = changed(stored)
    files = other + [file for file in stored if file not in other]  # most commits differ in the first of them
    try:
        commits = git("log", f"-{SEARCHED}", "--format=%H", "--", *files).split()
        return next(
            (each for each in commits if all(_was(each, file) == stored[file] for file in files)), None
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def _was(commit: str, file: str) -> str:
    """The digest of a file at a commit; "" where it was not."""
    try:
        return digest_of(git("show", f"{commit}:{file}"))
    except subprocess.CalledProcessError:
        return ""


def git(*words: str) -> str:
    """What git says in the project's clone. Raises CalledProcessError where it fails."""
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
