"""Calls a reward function of any convention with rows. Runs inside a worker.

It may be async; one that takes a rollout at a time is then called for all of them at once.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from oneloop.judge.functions.conventions import Row, lacking, style_of, text_of
from oneloop.judge.functions.pictures import restored
from oneloop.judge.functions.returned import LoggedValues

MORE = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
ONLY_BY_PLACE = inspect.Parameter.POSITIONAL_ONLY
TEXTS_ONLY = ("ORM", "AsyncORM")
"""Classes of ms-swift: what is derived from them takes text, also of a conversation."""
MESSAGES = "where it wants lists of messages, write chat: true in the data part"


class RewardCall:
    """Calls one reward function with rows; `info` says what it must be sent.

    A call takes {rows, facts, seconds, pictures: files of the rows' pictures} and returns
    {values: [[number or None, error or None], ...], columns: {name: list}, metrics: {name: number}}.
    Raises ValueError when the function fits no convention.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        parameters = parameters_of(function)
        bound = _bound(function)
        self._names = [name for name, p in parameters.items() if p.kind not in MORE and name not in bound]
        self._required = [name for name in self._names if parameters[name].default is parameters[name].empty]
        self._by_place = [name for name in self._names if parameters[name].kind is ONLY_BY_PLACE]
        self._open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._bound = bound
        self._style = style_of(self._names, self._open)
        self._texts = any(cls.__name__ in TEXTS_ONLY for cls in type(function).__mro__)
        called = (
            function if inspect.isroutine(function) else getattr(function, "func", type(function).__call__)
        )
        self._concurrent = self._style.one and inspect.iscoroutinefunction(called)
        # one loop for all calls: clients that the function keeps open belong to the loop they were made in
        self._loop = asyncio.new_event_loop()
        self.info = {
            "names": self._names,
            "required": self._required,
            "offers": sorted(self._style.offers),
            "columns": self._style.columns,
            "all_columns": self._open and self._style.columns,
            "tokens": "completion_ids" in self._names or (self._open and self._style.columns),
            "pictures": self._style.pictures,
            "one": self._style.one and not self._concurrent,
            "concurrent": self._concurrent,
        }

    def __call__(self, argument: dict[str, Any]) -> dict[str, Any]:
        """Raises whatever the function raises (async for one rollout: that rollout alone is in error)."""
        rows, facts = restored(argument["rows"], argument.get("pictures", ())), argument["facts"]
        log = LoggedValues(len(rows))
        if self._concurrent:
            result = self._loop.run_until_complete(self._gather(rows, facts, log, argument["seconds"]))
        else:
            result = self._called(rows, facts, log)
            if inspect.isawaitable(result):
                result = self._loop.run_until_complete(result)
            result = [result] if self._style.one else result
        return {"values": log.read(result), "columns": log.columns, "metrics": log.metrics}

    async def _gather(
        self, rows: Sequence[Row], facts: dict[str, Any], log: LoggedValues, seconds: float
    ) -> list[Any]:
        calls = [self._called([row], facts, log) for row in rows]
        timed = (asyncio.wait_for(call, seconds) for call in calls)
        results = await asyncio.gather(*timed, return_exceptions=True)
        late = TimeoutError(f"took more than {seconds:g} s")
        return [late if isinstance(result, TimeoutError) else result for result in results]

    def _called(self, rows: Sequence[Row], facts: dict[str, Any], log: LoggedValues) -> Any:
        if self._texts:
            rows = [{**row, "prompt": text_of(row["prompt"])} for row in rows]
        offered = self._offered(rows, facts, log)
        for missing in lacking(self._required, list(offered), None):
            raise TypeError(missing)
        by_place = [offered[name] for name in self._by_place if name in offered]
        wanted = offered if self._open else [name for name in self._names if name in offered]
        named = {name: offered[name] for name in wanted if name not in self._by_place}
        try:
            return self._function(*by_place, **named)
        except TypeError as error:
            if "string indices must be integers" in str(error) and isinstance(rows[0]["prompt"], str):
                raise TypeError(f"{error}; the prompts are text, so completions are: {MESSAGES}") from error
            raise

    def _offered(self, rows: Sequence[Row], facts: dict[str, Any], log: LoggedValues) -> dict[str, Any]:
        """Everything the function may be given, by name."""
        offered = self._style.arguments(rows)
        if self._style.columns:
            taken = {*offered, *self._style.offers, "prompt", "completion"}
            names = dict.fromkeys(name for row in rows for name in row["example"] if name not in taken)
            columns = {name: [row["example"].get(name) for row in rows] for name in names}
            offered |= {name: column[0] for name, column in columns.items()} if self._style.one else columns
            offered["trainer_state"] = SimpleNamespace(global_step=facts.get("step"), **facts)
            offered |= {"log_extra": log.extra, "log_metric": log.metric}
        return {name: value for name, value in offered.items() if name not in self._bound}


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of `function`. Raises ValueError where Python cannot tell them."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        name = getattr(function, "__name__", type(function).__name__)
        raise ValueError(
            f"the parameters of {name} cannot be read: write a function in Python around it"
        ) from None


def _bound(function: Any) -> frozenset[str]:
    """Names that functools.partial has given values: what the data calls by them does not replace these."""
    return frozenset(function.keywords) if isinstance(function, partial) else frozenset()


def adapted(function: Any) -> RewardCall:
    """`function`, or a class that makes it, ready for rows. Raises ValueError when it fits no convention."""
    if hasattr(function, "funcs") and not callable(function):
        raise ValueError(refused_rubric(function))
    if not callable(function):
        raise ValueError(f"it is no function but {function!r:.80} ({type(function).__name__})")
    if inspect.isclass(function) or not parameters_of(function):
        function = _made_by(function)
    return RewardCall(function)


def _made_by(maker: Any) -> Any:
    """What a class, or a function without parameters, makes. Raises ValueError unless it can be called."""
    name = getattr(maker, "__name__", type(maker).__name__)
    needed = [p.name for p in parameters_of(maker).values() if p.default is p.empty and p.kind not in MORE]
    if needed:
        raise ValueError(
            f"it is a class that needs {', '.join(needed)}: make the object in your file "
            f"(reward = {name}(...)), and let the path name that"
        )
    try:
        made = maker()
    except Exception as error:
        raise ValueError(
            f"{name}(), called to make the function, raised {type(error).__name__}: {error}"
        ) from error
    if inspect.iscoroutine(made):
        made.close()  # else Python warns that nobody awaited it
    if not callable(made):
        what = f"is a class whose objects ({made!r:.80}) cannot be called; it needs a __call__"
        if not inspect.isclass(maker):
            what = f"has no parameters, so that it must make a reward function, but it returned {made!r:.80}"
        raise ValueError(f"{name} {what}. A reward function takes what it scores: def {name}(completions)")
    return made


def refused_rubric(rubric: Any) -> str:
    """What to write instead of a Rubric of verifiers: its functions, one judge each."""
    functions = getattr(rubric, "funcs", None) or getattr(rubric, "reward_funcs", None) or []
    weights = (
        getattr(rubric, "weights", None) or getattr(rubric, "reward_weights", None) or [1.0] * len(functions)
    )
    names = [getattr(one, "__name__", type(one).__name__) for one in functions]
    judges = [
        f"- function: {{path: your_file.py:{name}, weight: {weight:g}}}"
        for name, weight in zip(names, weights, strict=False)
    ]
    listed = " ".join(judges) or "- function: {path: your_file.py:name, weight: 1}"
    return (
        f"a Rubric of verifiers is no function; give its functions one by one, each with its weight: {listed}"
    )
