"""The verifiers' own arithmetic: how right a text is, given the data row. Runs inside a sandbox's worker.

Only the standard library is imported at the top, so that a worker starts fast. Every scorer takes
(text or None, row) and returns a number, or None when the row has nothing to compare with.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from oneloop.judge.answers import accepted

Scorer = Callable[[str | None, dict[str, Any]], float | None]


def scorer(by: str, extract: str | None) -> Callable[[tuple[str, dict[str, Any]]], float | None]:
    """The scorer called `by`, after what `extract` finds in the text (see `extracted`)."""
    score = {"exact": exact, "math": math, "reasoning_gym": reasoning_gym}[by]
    return lambda argument: score(extracted(argument[0], extract), argument[1])


def extracted(text: str, pattern: str | None) -> str | None:
    """The last match of `pattern` in `text` (its first group if it has one), stripped; None: no match."""
    if pattern is None:
        return text.strip()
    matches = list(re.finditer(pattern, text, re.DOTALL))
    return (matches[-1].group(1 if matches[-1].re.groups else 0) or "").strip() if matches else None


def exact(text: str | None, row: dict[str, Any]) -> float | None:
    """1 when the text is a right answer, character by character, white space around both left out."""
    answers = accepted(row["answer"])
    return float(text in answers) if answers else None


def math(text: str | None, row: dict[str, Any]) -> float | None:
    """1 when math-verify finds the text equal to a right answer. Raises ValueError where it can read none."""
    scores: list[float] = []
    unread: list[ValueError] = []
    for answer in accepted(row["answer"]):
        try:
            scores.append(_equal(text, answer))
        except ValueError as error:
            unread.append(error)
    if unread and not scores:
        raise unread[0]
    return max(scores) if scores else None


def _equal(text: str | None, answer: str) -> float:
    import math_verify

    # its own timeouts are SIGALRM handlers, which some expressions outlive; ours kills the process
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that they are off
    gold = _parsed(f"${answer}$" if "\\" in answer and "$" not in answer else answer)
    if not gold:
        raise ValueError(f"math-verify finds no mathematics in the right answer {answer!r:.100}")
    found = math_verify.parse(text or "", parsing_timeout=None)
    return float(bool(found) and math_verify.verify(gold, found, timeout_seconds=None))


@cache
def _parsed(answer: str) -> Any:
    import math_verify

    return math_verify.parse(answer, parsing_timeout=None)


def reasoning_gym(text: str | None, row: dict[str, Any]) -> float | None:
    """The score of the row's own reasoning-gym task: 1 is right, what lies between is its partial credit.

    Raises ValueError for a row that does not say which task it is of.
    """
    if not (name := (row["metadata"] or {}).get("source_dataset")):
        raise ValueError("the row's metadata names no reasoning-gym task (source_dataset)")
    return float(_task(name, row["options"] or {}).score_answer(text, entry=row))


_TASKS: dict[tuple[str, str], Any] = {}


def _task(name: str, options: dict[str, Any]) -> Any:
    """The task with these options, made once: some scorers look at their options."""
    from reasoning_gym.factory import create_dataset

    key = (name, repr(options))
    if key not in _TASKS:
        _TASKS[key] = create_dataset(name, seed=0, size=1, **options)
    return _TASKS[key]
