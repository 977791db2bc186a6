"""The verifiers' own arithmetic: how right a text is, given the data row. Runs in copies of a worker.

Only the standard library is imported at the top, so that a worker starts fast. A score is a number from 0 to
1, or None when the row has nothing to compare with.
"""

import importlib
import inspect
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

from oneloop.judge.answers import accepted
from oneloop.judge.expressions import HARMLESS, ROWS, TASKS, NotPlain, evaluates
from oneloop.judge.formulas import equal
from oneloop.judge.isolation.forked import OwnProcess

Scored = tuple[float | None, str | None]
"""The score, and a remark on it."""


def scorer(by: str, extract: str | None) -> Callable[[tuple[str, dict[str, Any]], bool], Scored]:
    """The scorer called `by`, after what `extract` finds in the text (see `extracted`).

    It takes (text, row) and whether it has a process for this text alone, without which it raises OwnProcess
    for a text that has to be evaluated.
    """

    def score(argument: tuple[str, dict[str, Any]], alone: bool) -> Scored:
        text, row = extracted(argument[0], extract), argument[1]
        if by == "reasoning_gym":
            return reasoning_gym(text, row, alone)
        return {"exact": exact, "math": math}[by](text, row), None

    if by == "math":
        _warm()
    if by == "reasoning_gym":
        importlib.import_module("reasoning_gym")  # loaded once, for all copies

        score.prepare = _prepare  # type: ignore[attr-defined]
    return score


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
    # its own timeouts are SIGALRM handlers, which some expressions outlive; ours kills the process
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that they are off
    scores: list[float] = []
    unread: list[ValueError] = []
    for answer in accepted(row["answer"]):
        try:
            scores.append(float(equal(text or "", answer)))
        except ValueError as error:
            unread.append(error)
    if unread and not scores:
        raise unread[0]
    return max(scores) if scores else None


def _warm() -> None:
    """Reads and compares a few formulas: what that loads and caches, copies of this process start with."""
    for answer in ("1", r"\frac{1}{2}", r"\sqrt{2} + x^2", "(1, 2)"):
        math(rf"\boxed{{{answer}}}", {"answer": answer})


def _prepare() -> None:
    """Differentiates and simplifies a formula, so that sympy is loaded and its caches are filled."""
    import sympy

    x = sympy.Symbol("x")
    known = {"x": x}
    formula = sympy.parse_expr("3*x**2/4 - x*exp(2*x)*sin(x) + sqrt(x + 1)*log(x)", local_dict=known)
    sympy.simplify(sympy.diff(formula, x) - sympy.parse_expr("x/2", local_dict=known))


def reasoning_gym(text: str | None, row: dict[str, Any], alone: bool) -> Scored:
    """The score of the row's own reasoning-gym task: 1 is right, what lies between is its partial credit.

    What the task would evaluate is parsed first; a text that is more than values or a formula is scored like
    no answer, with a remark that says why. Raises ValueError for a row that does not say which task it is of.
    """
    if not (name := (row["metadata"] or {}).get("source_dataset")):
        raise ValueError("the row's metadata names no reasoning-gym task (source_dataset)")
    task = _task(name, row["options"] or {})
    _check_row(name, row)
    if text is None or (check := TASKS.get(name)) is None:
        return _scored(task, text, row)
    try:
        apart = check(text)
    except NotPlain as reason:
        return task.score_answer(None, entry=row), f"not evaluated: {reason}"
    if apart and not alone and text != row["answer"]:
        raise OwnProcess
    return _scored(task, text, row)


def _scored(task: Any, text: str | None, row: dict[str, Any]) -> Scored:
    try:
        return task.score_answer(text, entry=row), None
    except Exception as error:
        # a text that its scorer cannot read is wrong; a scorer that cannot read the right answer is broken
        task.score_answer(row["answer"], entry=row)
        return task.score_answer(
            None, entry=row
        ), f"unreadable to its scorer: {type(error).__name__}: {error}"


def _check_row(name: str, row: dict[str, Any]) -> None:
    """Raises ValueError when the scorer would evaluate code in the data row."""
    if name in ROWS:
        check, found = ROWS[name]
        try:
            check(found(row))
        except NotPlain as reason:
            raise ValueError(f"the row has what {name} must not evaluate: {reason}") from reason


_TASKS: dict[tuple[str, str], Any] = {}


def _task(name: str, options: dict[str, Any]) -> Any:
    """The task with these options, made once: some scorers look at their options. Raises ValueError."""
    from reasoning_gym.factory import create_dataset

    key = (name, repr(options))
    if key not in _TASKS:
        task = create_dataset(name, seed=0, size=1, **options)
        known = name in TASKS or name in ROWS or name in HARMLESS
        if not known and evaluates(inspect.getsource(sys.modules[type(task).__module__])):
            raise ValueError(
                f"the task {name} of this version of reasoning-gym evaluates text as code, in a way that "
                "oneloop does not know to be harmless; use the version that oneloop asks for"
            )
        _TASKS[key] = task
    return _TASKS[key]
