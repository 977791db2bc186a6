"""Reads what a reward function returns and logs. Runs inside a worker.

A function returns a number or None a rollout, as list, tuple or array, or a dict with `rewards`, `reward`,
`score` or `scores`, for the batch or for each; what else the dict holds is logged.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence, ValuesView
from decimal import Decimal
from fractions import Fraction
from typing import Any

SCORES = ("rewards", "reward", "score", "scores")


class LoggedValues:
    """What a reward function hands over beside its scores: columns of one value a rollout, and metrics."""

    def __init__(self, rows: int):
        self.rows = rows
        self.columns: dict[str, list[Any]] = {}
        self.metrics: dict[str, float] = {}

    def extra(self, column: str, values: Sequence[Any]) -> None:
        """TRL's log_extra. Raises ValueError on another length than the batch's."""
        if len(values) != self.rows:
            raise ValueError(f"log_extra('{column}'): {len(values)} values for {self.rows} rollouts")
        self.columns[column] = [loggable(value) for value in values]

    def metric(self, name: str, value: float) -> None:
        """TRL's log_metric."""
        self.metrics[name] = float(value)

    def read(self, result: Any) -> list[list[Any]]:
        """[number or None, error or None] of each rollout, from what a function returned for the batch."""
        if isinstance(result, tuple) and result and _is_many(result[0]):  # flow_grpo: (scores, metadata)
            result = result[0]
        if isinstance(result, dict):
            result = self._entries(result, lambda name, value: self.extra(name, _listed(value)))
        if len(shape := getattr(result, "shape", ())) > 1:
            told = (
                f"returned scores of shape {list(shape)}, which must be [{self.rows}]: one number a rollout"
            )
            return [[None, told]] * self.rows
        scores = _listed(result)
        if not isinstance(scores, list) or len(scores) != self.rows:
            got = f"{len(scores)} scores" if isinstance(scores, list) else repr(scores)[:80]
            return [[None, f"returned {got} for {self.rows} rollouts"]] * self.rows
        return [self._read_one(i, score) for i, score in enumerate(scores)]

    def _read_one(self, i: int, score: Any) -> list[Any]:
        if isinstance(score, BaseException):
            return [None, f"{type(score).__name__}: {score}"]
        if isinstance(score, dict):
            try:
                score = self._entries(score, lambda name, value: self._set(name, i, value))
            except ValueError as error:
                return [None, str(error)]
        if math.prod(shape := getattr(score, "shape", ())) != 1:
            return [None, f"returned values of shape {list(shape)} for one rollout, which is no number"]
        score = score.item() if hasattr(score, "item") else score
        if isinstance(score, Decimal | Fraction | int) and not isinstance(score, bool):
            try:
                score = score if isinstance(score, int) and float(score) == score else float(score)
            except OverflowError:  # hundreds of digits
                return [None, f"returned {str(score)[:20]}..., which is too large for a score"]
        known = score is None or isinstance(score, bool | int | float)
        return [score, None] if known else [None, f"returned {score!r:.80}, which is no number"]

    def _entries(self, result: dict[str, Any], log: Callable[[str, Any], None]) -> Any:
        if not (key := next((name for name in SCORES if name in result), None)):
            raise ValueError(f"returned a dict without {', '.join(SCORES)}; its keys are {list(result)}")
        extras = {name: value for name, value in result.items() if name not in (key, "extra_logs")}
        for name, value in {**extras, **result.get("extra_logs", {})}.items():
            log(name, value)
        return result[key]

    def _set(self, column: str, i: int, value: Any) -> None:
        self.columns.setdefault(column, [None] * self.rows)[i] = loggable(value)


def loggable(value: Any) -> Any:
    """A number, text, or None; of anything else its text."""
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _listed(value: Any) -> Any:
    return (
        value.tolist()
        if hasattr(value, "tolist")
        else list(value)
        if isinstance(value, tuple | range | deque | ValuesView | Iterator)
        else value
    )


def _is_many(value: Any) -> bool:
    """Whether `value` holds scores, rather than being one."""
    return isinstance(value, list | tuple | dict) or (
        hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0
    )
