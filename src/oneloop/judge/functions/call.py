"""Calls a reward function of any convention with rows, and reads what it returns. Runs inside a worker.

A function returns a number or None a rollout, as list, tuple or array, or a dict with `rewards`, `reward`,
`score` or `scores`, for the batch or for each; what else the dict holds is logged. It may be async; one that
takes a rollout at a time is then called for all of them at once.
"""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from oneloop.judge.functions.conventions import Row, style_of, text_of

SCORES = ("rewards", "reward", "score", "scores")


class Log:
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
        if isinstance(result, tuple):  # flow_grpo: (scores, metadata)
            result = result[0]
        if isinstance(result, dict):
            result = self._entries(result, lambda name, value: self.extra(name, _listed(value)))
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
        score = score.item() if hasattr(score, "item") else score
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
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, tuple) else value


class Adapted:
    """Calls one reward function with rows; `info` says what it must be sent.

    A call takes {rows, facts, seconds} and returns {values: [[number or None, error or None], ...],
    columns: {name: list}, metrics: {name: number}}.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        parameters = inspect.signature(function).parameters
        self._names = [n for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        self._required = [n for n in self._names if parameters[n].default is inspect.Parameter.empty]
        self._open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._style = style_of(self._names)
        self._is_object = not inspect.isroutine(function)  # ms-swift's convention
        called = type(function).__call__ if self._is_object else function
        self._concurrent = self._style.one and inspect.iscoroutinefunction(called)
        # one loop for all calls: clients that the function keeps open belong to the loop they were made in
        self._loop = asyncio.new_event_loop()
        self.info = {
            "names": self._names,
            "all_columns": self._open and self._style.columns,
            "one": self._style.one and not self._concurrent,
            "concurrent": self._concurrent,
        }

    def __call__(self, argument: dict[str, Any]) -> dict[str, Any]:
        """Raises whatever the function raises (async for one rollout: that rollout alone is in error)."""
        rows, facts = argument["rows"], argument["facts"]
        log = Log(len(rows))
        if self._concurrent:
            result = self._loop.run_until_complete(self._gather(rows, facts, log, argument["seconds"]))
        else:
            result = self._function(**self._arguments(rows, facts, log))
            if inspect.isawaitable(result):
                result = self._loop.run_until_complete(result)
            result = [result] if self._style.one else result
        return {"values": log.read(result), "columns": log.columns, "metrics": log.metrics}

    async def _gather(
        self, rows: Sequence[Row], facts: dict[str, Any], log: Log, seconds: float
    ) -> list[Any]:
        calls = [self._function(**self._arguments([row], facts, log)) for row in rows]
        timed = (asyncio.wait_for(call, seconds) for call in calls)
        results = await asyncio.gather(*timed, return_exceptions=True)
        late = TimeoutError(f"took more than {seconds:g} s")
        return [late if isinstance(result, TimeoutError) else result for result in results]

    def _arguments(self, rows: Sequence[Row], facts: dict[str, Any], log: Log) -> dict[str, Any]:
        if self._is_object:
            rows = [{**row, "prompt": text_of(row["prompt"])} for row in rows]
        offered = self._style.arguments(rows)
        if self._style.columns:
            taken = {*offered, "prompt", "completion", "completion_ids"}
            names = dict.fromkeys(name for row in rows for name in row["example"] if name not in taken)
            columns = {name: [row["example"].get(name) for row in rows] for name in names}
            offered |= {name: column[0] for name, column in columns.items()} if self._style.one else columns
            offered["trainer_state"] = SimpleNamespace(global_step=facts.get("step"), **facts)
            offered |= {"log_extra": log.extra, "log_metric": log.metric}
        if missing := [name for name in self._required if name not in offered]:
            raise TypeError(f"it asks for '{missing[0]}'; there are: {', '.join(offered)}")
        return offered if self._open else {name: offered[name] for name in self._names if name in offered}


def adapted(function: Any) -> Adapted:
    """`function`, or a class that makes it, ready for rows. Raises ValueError when it fits no convention."""
    if inspect.isclass(function) or not inspect.signature(function).parameters:
        function = function()
    return Adapted(function)
