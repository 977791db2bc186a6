"""Does a picture say its text? The judgement of a trained reader of words (models/judges/ctc_reader.py).

    likelihood       p(text | picture) ^ (1 / len(text)), in [0, 1]
    log_likelihood   its logarithm: One-DM's reward (arXiv 2409.04004) is `reward_backprop` of it without a
                     bound
    accuracy         1 - character error rate of what is read, at least 0; it has no gradient

`grade` is the first two with a gradient in the picture; the reader is frozen and in eval mode. A picture that
has too few columns for its text has likelihood 0 and no gradient, and `extra.<name>` counts it. `correct`
says that the text is read without a mistake.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.memory import device_of
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.verdicts import JudgeError, Verdict, columns
from oneloop.measure.edit_distance import character_error_rate
from oneloop.models.judges.ctc_reader import CtcReader

DIGITS = 6
"""Decimals of a score that are kept as a verdict: the last bits depend on which pictures are beside."""
FLOOR = -20.0
"""Log-likelihood of a character in a picture that is too narrow for its text."""


@part(
    reads=("output", "example"),
    writes=lambda self: (f"reward.{self.name}", f"error.{self.name}", f"extra.{self.name}", "correct"),
    paper="arXiv 2409.04004",
)
class Reader:
    """Likelihood of the row's text under the reader in `folder`, or the accuracy of what it reads."""

    folder: Annotated[str, Field(min_length=1)]
    """Folder of a reader that `oneloop.models.judges.fit_reader` has trained."""
    score: Literal["likelihood", "log_likelihood", "accuracy"] = "likelihood"
    """What is rewarded; the first two are for one character on average."""
    column: Annotated[str, Field(min_length=1)] = "prompt"
    """Column of the data that has the text."""
    pictures_per_call: Annotated[int, Field(ge=1)] = 64
    """Pictures that are read at a time."""
    device: str = "auto"
    """Device of the reader, such as cuda:0; auto: a GPU when there is one."""
    name: Annotated[str, Field(min_length=1, pattern=r"^[^.]*$")] = "reader"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its only criterion."""
        return (self.score,)

    @property
    def no_gradient(self) -> str:
        """Why it cannot be differentiated; "" when it can."""
        return (
            "score: accuracy counts mistakes, and a count has no gradient" if self.score == "accuracy" else ""
        )

    @cached_property
    def network(self) -> CtcReader:
        """The reader, frozen. Raises JudgeError where the folder holds none."""
        try:
            reader = CtcReader.load(Path(self.folder))
        except ValueError as error:
            raise JudgeError(f"judge '{self.name}': folder: {error}") from None
        return reader.requires_grad_(False).to(torch.device(device_of(self.device)))

    @torch.no_grad()
    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`extra.<name>` has the `text` that was read, its `cer`, and `infeasible` (1: too narrow a picture).

        Raises JudgeError for a row without a text, or with one that the reader does not know.
        """
        texts = [
            self._text(row, key) for row, key in zip(rollouts.example, rollouts.key.tolist(), strict=True)
        ]
        read: list[str] = []
        logs, feasible = [], []
        for start in range(0, len(texts), self.pictures_per_call):
            images = rollouts.output[start : start + self.pictures_per_call].to(self._place)
            some = self._log_likelihoods(images, texts[start : start + self.pictures_per_call])
            logs.append(some[0].cpu())
            feasible.append(some[1].cpu())
            read += self.network.read(images)
        rates = [character_error_rate(said, text) for said, text in zip(read, texts, strict=True)]
        scores = self._scores(torch.cat(logs) if logs else torch.zeros(0), rates)
        narrow = (~torch.cat(feasible)).tolist() if feasible else []
        extra = [
            {"text": said, "cer": rate, "infeasible": float(no)}
            for said, rate, no in zip(read, rates, narrow, strict=True)
        ]
        right = torch.tensor([float(rate == 0) for rate in rates], dtype=torch.float64)
        verdicts = [Verdict(score) for score in scores]
        return rollouts.put({**columns(self.name, verdicts), f"extra.{self.name}": extra}, correct=right)

    def grade(self, images: Tensor, rollouts: Rollouts, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(scores [a, 1] with a gradient in the pictures [a, C, H, W]; where the text is feasible, bool [a,
        1])."""
        chosen = [(rollouts.example[row], int(rollouts.key[row])) for row in rows.tolist()]
        texts = [self._text(row, key) for row, key in chosen]
        logs, feasible = self._log_likelihoods(images.to(self._place), texts)
        scores = logs.exp() if self.score == "likelihood" else logs
        return scores[:, None].to(images.device), feasible[:, None].to(images.device)

    @property
    def _place(self) -> torch.device:
        return self.network.head.weight.device

    def _log_likelihoods(self, images: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
        """([b] for a character on average, `FLOOR` where infeasible; which are feasible, bool [b])."""
        losses, feasible = self.network.losses(images, texts)
        lengths = torch.tensor([len(text) for text in texts], device=losses.device)
        return torch.where(feasible, -losses / lengths, FLOOR), feasible

    def _scores(self, logs: Tensor, rates: list[float]) -> list[float]:
        if self.score == "accuracy":
            return [max(0.0, 1 - rate) for rate in rates]
        values = logs.exp() if self.score == "likelihood" else logs
        return [round(value, DIGITS) for value in values.double().tolist()]

    def _text(self, row: dict[str, Any], key: int) -> str:
        text = row.get(self.column)
        if not isinstance(text, str):
            raise JudgeError(
                f"judge '{self.name}' needs a text in the column '{self.column}' of data row {key}"
            )
        try:
            self.network.classes(text)
        except ValueError as error:
            raise JudgeError(f"judge '{self.name}', data row {key}: {error}") from None
        return text
