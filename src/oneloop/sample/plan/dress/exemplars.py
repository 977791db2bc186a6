"""Solved questions, found again by likeness: the memory behind seeded contexts. Not a part.

One solution a question, the newest; the oldest questions leave when it is full. What is held out for
evaluation never gets in, and nobody is shown his own question, or one so like it that it is the same.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from oneloop.measure.text_similarity import Similarity


@dataclass(frozen=True)
class Exemplar:
    """A question and a solution that was verified."""

    question: str
    solution: str


class Exemplars:
    """At most `capacity` solved questions; `held_out` questions are refused."""

    def __init__(
        self, similarity: Similarity, capacity: int, same_from: float, held_out: Collection[str] = ()
    ):
        self.similarity, self.capacity, self.same_from = similarity, capacity, same_from
        self.held_out = {normal(question): question for question in held_out}
        self.solved: dict[str, Exemplar] = {}
        self.refused = 0

    def add(self, found: Sequence[Exemplar]) -> None:
        """Solutions, in order; held-out questions and their near-duplicates only count in `refused`.

        Raises ValueError for a question or a solution without text.
        """
        for exemplar in found:
            if not exemplar.question.strip() or not exemplar.solution.strip():
                raise ValueError(f"a solved example needs a question and a solution, got {exemplar}")
        forbidden = self._held_out([exemplar.question for exemplar in found])
        for exemplar, refuse in zip(found, forbidden, strict=True):
            if refuse:
                self.refused += 1
                continue
            name = normal(exemplar.question)
            self.solved.pop(name, None)  # the newest solution, as the youngest entry
            self.solved[name] = exemplar
            if len(self.solved) > self.capacity:
                del self.solved[next(iter(self.solved))]

    def _held_out(self, questions: Sequence[str]) -> list[bool]:
        if not self.held_out or not questions:
            return [False] * len(questions)
        like = self.similarity(list(self.held_out.values()), questions).max(1)
        return [
            normal(question) in self.held_out or near >= self.same_from
            for question, near in zip(questions, like.tolist(), strict=True)
        ]

    def nearest(self, questions: Sequence[str], count: int, above: float) -> list[list[Exemplar]]:
        """For each question up to `count` exemplars more alike than `above`, the most alike first.

        Ties go to the one that was solved last.
        """
        if not self.solved or not questions:
            return [[] for _ in questions]
        names, exemplars = list(self.solved), list(self.solved.values())
        likeness = self.similarity([exemplar.question for exemplar in exemplars], questions)
        found = []
        for question, row in zip(questions, likeness.tolist(), strict=True):
            own = normal(question)
            fit = [
                (near, place)
                for place, near in enumerate(row)
                if above < near < self.same_from and names[place] != own
            ]
            found.append([exemplars[place] for _, place in sorted(fit, reverse=True)[:count]])
        return found

    def state_dict(self) -> dict[str, Any]:
        """Every solved question in order, as text."""
        solved = [[exemplar.question, exemplar.solution] for exemplar in self.solved.values()]
        return {"solved": solved, "refused": self.refused}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        found = [Exemplar(*pair) for pair in state["solved"]]
        self.solved = {normal(exemplar.question): exemplar for exemplar in found}
        self.refused = state["refused"]


def normal(question: str) -> str:
    """The question without what does not make it another one: case and white space."""
    return " ".join(question.lower().split())
