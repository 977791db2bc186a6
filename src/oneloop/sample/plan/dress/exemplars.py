"""A store of solved questions, found by similarity, and the prompt text made of them (for seed_contexts.py).

Each question has one solution, the newest; the oldest questions leave when the store is full. Evaluation
questions are never stored. A question never gets itself, or a near-duplicate of itself, as an example. Not a
part.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from oneloop.measure.text_similarity import Similarity


@dataclass(frozen=True)
class Exemplar:
    """A question and a verified solution."""

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
        """Restores what `state_dict` returned."""
        found = [Exemplar(*pair) for pair in state["solved"]]
        self.solved = {normal(exemplar.question): exemplar for exemplar in found}
        self.refused = state["refused"]


SHORTEST = 16
"""Characters: a solution that would be cut shorter is left out with its question."""


def block_of(exemplars: Sequence[Exemplar], template: str, fits: Callable[[str], bool]) -> tuple[str, int]:
    """(text of the exemplars, the first one last, as long as `fits` allows; how many it holds).

    Solutions are shortened first, all to one number of characters; then the last exemplars are left out.
    Questions are never cut. `fits` is asked about whole texts and must not hold for one that is longer where
    it fails for a shorter one.
    """
    kept = list(exemplars)
    while kept:
        longest = max(len(exemplar.solution) for exemplar in kept)
        shortest = min(SHORTEST, longest)
        if fits(text := _joined(kept, template, longest)):
            return text, len(kept)
        if fits(text := _joined(kept, template, shortest)):
            low, high = shortest, longest  # `low` fits, `high` does not
            while high - low > 1:
                middle = (low + high) // 2
                if fits(tried := _joined(kept, template, middle)):
                    low, text = middle, tried
                else:
                    high = middle
            return text, len(kept)
        kept.pop()
    return "", 0


def _joined(exemplars: Sequence[Exemplar], template: str, length: int) -> str:
    """The exemplars, the first one last, with solutions of at most `length` characters."""
    texts = (filled(template, each.question, each.solution[:length]) for each in reversed(exemplars))
    return "".join(texts)


def filled(template: str, question: str, solution: str) -> str:
    """The template with both texts in it, whatever braces they hold."""
    texts = {"question": question, "solution": solution}
    return re.sub(r"\{(question|solution)\}", lambda place: texts[place[1]], template)


def normal(question: str) -> str:
    """The question in lower case with single spaces, for comparison."""
    return " ".join(question.lower().split())
