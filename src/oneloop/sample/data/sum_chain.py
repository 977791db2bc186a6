"""Sums written step by step, "3+4=7", blank line, "7+4=1": the smallest task with steps that can be wrong.

    v[0] = start     v[k] = (v[k-1] + operand) mod 10     answer: v[length]

A wrong step makes the answer wrong nine times in ten, so right answers become rare as p^length while every
step can be checked alone. `wrong_steps` is that check, a critic for `step_critic`; `noisy_wrong_steps` is a
critic with errors.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from oneloop.core import draws
from oneloop.core.part import part

MODULUS = 10
BREAK = "\n\n"


@part()
class SumChain:
    """Rows `prompt` ("3+4:"), `completion` (the steps), `answer`, `start`, `operand`, `length`."""

    length: Annotated[int, Field(ge=1)] = 4
    """Steps of a solution."""
    size: Annotated[int, Field(ge=1)] = 10_000
    """Number of rows, generated on access. There are 100 different prompts."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the order of the prompts and of the mistakes."""
    wrong: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the steps in `completion` with a wrong result; later steps continue from that result."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises IndexError outside 0..size-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key}: there are {self.size} rows")
        name = draws.mix(self.seed, "sum_chain", key)
        start, operand, *drawn = draws.uniforms(name, np.arange(2 + 2 * self.length)).tolist()
        first, operand = int(MODULUS * start), int(MODULUS * operand)
        value, steps = first, []
        for spoil, shift in zip(drawn[: self.length], drawn[self.length :], strict=True):
            slip = 1 + int((MODULUS - 1) * shift) if spoil < self.wrong else 0
            result = (value + operand + slip) % MODULUS
            steps.append(f"{value}+{operand}={result}")
            value = result
        return {
            "prompt": f"{first}+{operand}:",
            "completion": BREAK.join(steps),
            "answer": str((first + self.length * operand) % MODULUS),
            "start": first,
            "operand": operand,
            "length": self.length,
        }


def wrong_steps(steps: list[str], start: int, operand: int, length: int) -> dict[int, str]:
    """{index of a wrong step: reason}; each is checked against the result that the step before states."""
    wrong: dict[int, str] = {}
    value = start
    for k, step in enumerate(text.strip() for text in steps):
        left, _, stated = step.partition("=")
        right = (value + operand) % MODULUS
        if k >= length:
            wrong[k] = f"one step too many: {length} were asked for"
        elif left != f"{value}+{operand}":
            wrong[k] = f"should begin with {value}+{operand}="
        elif stated != str(right):
            wrong[k] = f"{left} is {right} modulo {MODULUS}"
        value = int(stated) if stated in set("0123456789") else value
    return wrong


def noisy_wrong_steps(
    steps: list[str],
    start: int,
    operand: int,
    length: int,
    seed: int,
    hit: float = 0.8,
    false_alarm: float = 0.2,
) -> dict[int, str]:
    """`wrong_steps` with errors: finds a wrong step with probability `hit`, flags a right one with
    `false_alarm`.
    """
    found = wrong_steps(steps, start, operand, length)
    drawn = draws.uniforms(seed, np.arange(len(steps)))
    called = {k: hit if k in found else false_alarm for k in range(len(steps))}
    return {k: found.get(k, "looks wrong") for k, chance in called.items() if drawn[k] < chance}
