"""Is the answer right? reasoning-gym's own scorer, math-verify, or an exact comparison.

Writes `reward.<name>` (the score), `correct` (1 where the score is at least 1, else 0), `error.<name>` and
`extra.<name>`.
Scoring runs in copies of a worker process that is shut in (oneloop.judge.isolation): model output has hung
every one of these, and some tasks of reasoning-gym evaluate it. An answer that is not evaluated because it is
more than a formula is scored as wrong; `extra.<name>` says why.
Partial credit, which many reasoning-gym tasks give, is in the reward and never in `correct`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from oneloop.core.judge_limits import JudgeLimits
from oneloop.core.part import Options, part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, Verdict, columns, verdict
from oneloop.judge.answers import accepted
from oneloop.judge.isolation.sandbox import Sandbox, shared

NEEDED = {"exact": ("answer",), "math": ("answer",), "reasoning_gym": ("question", "answer", "metadata")}
OPTIONAL = {"reasoning_gym": ("options",)}


@part(
    reads=("text", "example"),
    writes=lambda self: (f"reward.{self.name}", f"error.{self.name}", f"extra.{self.name}", "correct"),
)
class Verifier:
    """Compares each rollout's text with the `answer` of its data row."""

    by: Literal["reasoning_gym", "math", "exact"] = "reasoning_gym"
    """Comparison of answers: the row's reasoning-gym task, math-verify, or character by character."""
    extract: str | None = None
    """Regular expression that finds the answer in the text (last match, first group); without a match: 0."""
    name: Annotated[str, Field(min_length=1)] = "verifier"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""
    limits: Annotated[JudgeLimits, Options(JudgeLimits)] = JudgeLimits()
    """Time, memory, retries, and what an error does."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.extract or "")
        except re.error as error:
            raise ValueError(f"extract is no regular expression: {error}, got {self.extract!r}") from error
        for name in ("network", "environment", "files"):
            if getattr(self.limits, name):
                raise ValueError(f"limits.{name} is for functions of your own; what ships needs none")

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Raises JudgeError when a data row lacks a column this needs."""
        calls = [(text, self._row(row)) for text, row in zip(rollouts.text, rollouts.example, strict=True)]
        outcomes = self._sandbox.run(calls, self.limits.timeout)
        verdicts = [verdict(o.value[0]) if o.error is None else Verdict(error=o.error) for o in outcomes]
        remarks = [o.value[1] if o.error is None else None for o in outcomes]
        extra = [{"remark": remark} if remark else {} for remark in remarks]
        written = {**columns(self.name, verdicts), f"extra.{self.name}": extra}
        score = torch.tensor([v.score for v in verdicts], dtype=torch.float64)
        correct = torch.where(score.isnan(), score, (score >= 1).to(torch.float64))
        return rollouts.put(written, correct=correct)

    def lacks(self, columns: Sequence[str]) -> list[str]:
        """The columns it needs and data with these `columns` does not have, in words."""
        missing = [name for name in NEEDED[self.by] if name not in columns]
        if not missing:
            return []
        return [f"{self._needs(missing)}; there are: {', '.join(columns)}{self._instead(columns)}"]

    def _needs(self, missing: Sequence[str]) -> str:
        named = " and ".join(map(repr, missing))
        return f"by {self.by} needs the column{'s' * (len(missing) > 1)} {named}"

    def _instead(self, columns: Iterable[str]) -> str:
        """Which comparisons data with these `columns` would do for."""
        if self.by != "reasoning_gym" or "answer" not in columns:
            return ""
        return "; `by: exact` (characters) and `by: math` (numbers and formulas) compare with 'answer' alone"

    def compares(self, example: Mapping[str, Any]) -> bool:
        """Whether the data row `example` has a right answer; reasoning-gym's tasks always have."""
        if self.by == "reasoning_gym":
            return True
        try:
            return bool(accepted(example.get("answer")))
        except ValueError:  # what every rollout of the row is told
            return True

    @property
    def _sandbox(self) -> Sandbox:
        return shared("oneloop.judge.scorers.scorer", self.limits, (self.by, self.extract), copies=True)

    def _row(self, example: dict[str, Any]) -> dict[str, Any]:
        needed = NEEDED[self.by]
        if missing := [column for column in needed if column not in example]:
            raise JudgeError(
                f"verifier '{self.name}' {self._needs(missing)} of the data; columns there are: "
                f"{', '.join(example)}{self._instead(example)}"
            )
        row = {column: example.get(column) for column in (*needed, *OPTIONAL.get(self.by, ()))}
        # in text already here, because a number would lose the way its file writes it on the way to a worker
        return row if self.by == "reasoning_gym" else row | {"answer": _texts(row["answer"])}


def _texts(answer: Any) -> Any:
    """`answer` as text where it is of a kind that answers are; the scorer refuses the others."""
    try:
        return accepted(answer)
    except ValueError:
        return answer
