"""A reward function of your own, or of another library: the signatures are in functions/conventions.py.

By path it runs in a worker process that is killed when it hangs; a Python callable runs in this process,
where it can be interrupted but not killed (oneloop.judge.isolation). None means "no verdict"; NaN, a wrong
number of scores and an exception are errors. What it logs (TRL's log_extra, further entries of a dict)
goes to the column `extra.<name>`, a dict a rollout; TRL's log_metric to `facts["judge_metrics"]`.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator

from oneloop.core import shell
from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.part import Options, part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import Verdict, columns, verdict
from oneloop.judge.functions import locate
from oneloop.judge.functions.call import adapted, refused_rubric
from oneloop.judge.functions.conventions import lacking, style_of
from oneloop.judge.functions.pictures import PictureFiles
from oneloop.judge.isolation import messages
from oneloop.judge.isolation.in_process import Live
from oneloop.judge.isolation.process import Outcome
from oneloop.judge.isolation.sandbox import Sandbox, shared

ANSWERS = ("ground_truth", "ground_truths", "labels")
"""Parameters that are given the column `answer`."""


def _named(function: Any) -> Any:
    """`function`, unless it is a Rubric of verifiers, a file without a function, or a path for a shell."""
    if hasattr(function, "funcs") and not callable(function):
        raise ValueError(refused_rubric(function))
    if isinstance(function, str) and function.endswith(".py"):
        raise ValueError(f"say which function of the file: {function}:NAME")
    if (
        isinstance(function, str)
        and ".py:" in function
        and not Path(file := function.rpartition(":")[0]).is_file()
    ):
        seen = "" if Path(file).is_absolute() else f" (seen from the working directory, {Path.cwd()})"
        raise ValueError(f"no such file: {file}{shell.hint(file) or seen}")
    return function


@part(
    reads=("example",),
    writes=lambda self: (f"reward.{self.name}", f"error.{self.name}", f"extra.{self.name}"),
)
class Function:
    """The scores of `path`, called with the batch or one rollout at a time, as its parameters ask."""

    path: Annotated[str | Callable[..., Any], BeforeValidator(_named)]
    """`file.py:function`, `package.module.function`, or a Python callable."""
    name: str = ""
    """Name of the columns this judge writes; empty: the function's own name."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""
    isolate: bool = True
    """After a failed call for a batch, call again for each rollout, so that a bad one costs itself alone.
    False for a function that compares rollouts with one another."""
    limits: Annotated[JudgeLimits, Options(JudgeLimits)] = JudgeLimits()
    """Time, memory, retries, and what an error does."""

    def __post_init__(self) -> None:
        if isinstance(self.path, str):
            locate.check(self.path)
            known = locate.parameters(self.path)
            if known is not None and any(known):  # one without parameters makes the function
                style_of(*known)
            own = self.path.replace(":", ".").rpartition(".")[2]
        else:
            named = getattr(self.path, "func", self.path)  # what functools.partial holds
            own = str(getattr(self.path, "__name__", "") or getattr(named, "__name__", type(named).__name__))
            assert self._runner  # refuses what fits no convention
            if self.limits.of_a_worker != JudgeLimits().of_a_worker:
                raise ValueError(
                    f"limits.{', limits.'.join(self.limits.of_a_worker)} need a process: give the function "
                    f"by its path, not the object {self.path!r}"
                )
        if not self.name:
            object.__setattr__(self, "name", own)

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises CannotStart when the function cannot be loaded or fits no convention."""
        rows = self._rows(rollouts)
        verdicts: list[Verdict] = []
        extra: list[dict[str, Any]] = [{} for _ in rows]
        metrics: dict[str, list[float]] = {}
        for size, outcome in self._outcomes(rows, rollouts.facts):
            told = outcome.value or {"columns": {}, "metrics": {}}
            for column, values in told["columns"].items():
                for i, value in enumerate(values, start=len(verdicts)):
                    extra[i][column] = value
            for metric, value in told["metrics"].items():
                metrics.setdefault(f"{self.name}/{metric}", []).append(value)
            verdicts += _verdicts(size, outcome)
        judged = rollouts.put({**columns(self.name, verdicts), f"extra.{self.name}": extra})
        means = {metric: sum(values) / len(values) for metric, values in metrics.items()}
        return judged.put_facts(judge_metrics={**rollouts.facts.get("judge_metrics", {}), **means})

    def lacks(self, columns: Sequence[str]) -> list[str]:
        """What the function asks for and data with these `columns` cannot give it, in words.

        Warns where it asks for the right answer and the data has none. Raises CannotStart when the function
        cannot be loaded or fits no convention.
        """
        info = self._runner.info
        wanted = [name for name in ANSWERS if name in info["required"] and name in info["offers"]]
        if wanted and "answer" not in columns:
            warnings.warn(
                f"judge '{self.name}' asks for '{wanted[0]}', which is the data's column 'answer', and there "
                f"is none (columns: {', '.join(columns)}): it is given None; name yours with label_key",
                stacklevel=2,
            )
        return lacking(info["required"], info["offers"], columns if info["columns"] else None)

    @cached_property
    def _runner(self) -> Sandbox | Live:
        if not isinstance(self.path, str):
            return Live(adapted(self.path))
        adapter = "oneloop.judge.functions.call.adapted"
        return shared(self.path, self.limits, adapter=adapter)

    def _outcomes(self, rows: list[dict[str, Any]], facts: dict[str, Any]) -> list[tuple[int, Outcome]]:
        """(how many rollouts, what came of the call for them), in order."""
        each = [[row] for row in rows]
        if self._runner.info["one"] or not rows:
            return [(1, outcome) for outcome in self._run(each, facts)]
        (whole,) = self._run([rows], facts)
        if whole.error is None or not self.isolate or len(rows) == 1:
            return [(len(rows), whole)]
        return [(1, outcome) for outcome in self._run(each, facts)]

    def _run(self, batches: list[list[dict[str, Any]]], facts: dict[str, Any]) -> list[Outcome]:
        seconds = self.limits.timeout
        sent: dict[str, Any] = {name: facts[name] for name in ("step", "progress", "seed") if name in facts}
        calls = [self._call(rows, sent) for rows in batches]
        # calls that run at once time themselves; a little more lets them tell which one is late
        return self._runner.run(calls, seconds + 1 if self._runner.info["concurrent"] else seconds)

    def _call(self, rows: list[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
        """What the function's process is told of these rows: pictures as files, each once."""
        pictures = PictureFiles()
        if not isinstance(self._runner, Live):
            rows = [
                {
                    **row,
                    "prompt": pictures.packed(row["prompt"]),
                    "example": self._sendable(pictures.packed(row["example"])),
                }
                for row in rows
            ]
        return {"rows": rows, "facts": facts, "seconds": self.limits.timeout, "pictures": pictures.files}

    def _sendable(self, example: dict[str, Any]) -> dict[str, Any]:
        """The columns of a row that another process can be told. Warns of the others."""
        sent = {name: value for name, value in example.items() if messages.sendable(value)}
        for name in example.keys() - sent.keys():
            warnings.warn(
                f"judge '{self.name}' is not given the column '{name}', because its process can be sent no "
                f"{type(example[name]).__name__}",
                stacklevel=2,
            )
        return sent

    def _rows(self, rollouts: Rollouts) -> list[dict[str, Any]]:
        """What the function is told of each rollout: no more than its parameters ask for."""
        info = self._runner.info
        ids, groups = rollouts.id.tolist(), rollouts.group.tolist()
        texts = [""] * len(rollouts) if info["pictures"] and "text" not in rollouts else rollouts.text
        rows = [
            {
                "prompt": example["prompt"],
                "text": text,
                "id": i,
                "group": group,
                "example": self._example(example),
            }
            for example, text, i, group in zip(rollouts.example, texts, ids, groups, strict=True)
        ]
        # one that takes anything (**columns) is given token ids where a policy writes tokens
        if "completion_ids" in info["names"] or (info["tokens"] and "token" in rollouts.actions):
            row, action = rollouts.paths
            tokens = rollouts.actions.token[action].split(torch.bincount(row, minlength=len(rows)).tolist())
            rows = [{**told, "tokens": ids.tolist()} for told, ids in zip(rows, tokens, strict=True)]
        if info["pictures"]:
            pictures = (rollouts.output * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
            rows = [{**told, "image": picture.numpy()} for told, picture in zip(rows, pictures, strict=True)]
        return rows

    def _example(self, example: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self._runner, Live):
            return example
        if not self._runner.info["all_columns"]:
            named = {*self._runner.info["names"], "answer", "data_source", "extra_info", "metadata"}
            return {name: value for name, value in example.items() if name in named}
        return example


def _verdicts(size: int, outcome: Outcome) -> list[Verdict]:
    """Verdicts on the `size` rollouts of one call."""
    if outcome.error is not None:
        return [Verdict(error=outcome.error)] * size
    pairs = outcome.value["values"]
    return [verdict(score) if error is None else Verdict(error=error) for score, error in pairs]
