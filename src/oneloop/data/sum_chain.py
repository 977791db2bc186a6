"""Sums written step by step, "3+4=7", blank line, "7+5=2": the smallest task with steps that can be wrong.

    v[0] = first operand     v[k] = (v[k-1] + operand[k]) mod 10     answer: the last value

A wrong step spoils the answer nine times in ten, so right answers fall off as p^length while every step can be
checked by itself. `wrong_steps` is that check, for the step_critic judge; `noisy_wrong_steps` errs on purpose.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from oneloop import counter
from oneloop.part import part

MODULUS = 10
BREAK = "\n\n"


@part()
class SumChain:
    """Rows `prompt` ("3+4+5:"), `completion` (the steps), `answer`, `operands`."""

    length: Annotated[int, Field(ge=1)] = 4
    """Steps of a solution."""
    size: Annotated[int, Field(ge=1)] = 10_000
    """Number of rows; they are made when asked for."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed gives other rows (of a short chain, some by chance the same)."""
    wrong: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the steps in `completion` with a wrong result; later steps go on from it."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: int) -> dict[str, Any]:
        """The row of that number, the same always. Raises IndexError outside 0..size-1."""
        if not 0 <= key < self.size:
            raise IndexError(f"row {key}: there are {self.size} rows")
        draws = counter.uniforms(counter.mix(self.seed, "sum_chain", key), np.arange(3 * self.length + 1))
        operands = [int(MODULUS * draw) for draw in draws[: self.length + 1]]
        spoiled, shifts = draws[self.length + 1 : 2 * self.length + 1], draws[2 * self.length + 1 :]
        value, steps = operands[0], []
        for operand, spoil, shift in zip(operands[1:], spoiled, shifts, strict=True):
            slip = 1 + int((MODULUS - 1) * shift) if spoil < self.wrong else 0
            result = (value + operand + slip) % MODULUS
            steps.append(f"{value}+{operand}={result}")
            value = result
        return {
            "prompt": "+".join(map(str, operands)) + ":",
            "completion": BREAK.join(steps),
            "answer": str(sum(operands) % MODULUS),
            "operands": operands,
        }


def wrong_steps(steps: list[str], operands: list[int]) -> dict[int, str]:
    """{step: why} of the wrong steps, each judged by itself: given the value that the step before it stated."""
    wrong: dict[int, str] = {}
    value = str(operands[0])
    for k, step in enumerate(text.strip() for text in steps):
        if k + 1 >= len(operands):
            wrong[k] = "there is nothing left to add"
            continue
        left, _, stated = step.partition("=")
        if left != f"{value}+{operands[k + 1]}":
            wrong[k] = f"should begin with {value}+{operands[k + 1]}="
        elif stated != (right := str((int(value) + operands[k + 1]) % MODULUS)):
            wrong[k] = f"{left} is {right} modulo {MODULUS}"
        value = stated if stated.isdecimal() else value
    return wrong


def noisy_wrong_steps(
    steps: list[str], operands: list[int], seed: int, hit: float = 0.8, false_alarm: float = 0.2
) -> dict[int, str]:
    """`wrong_steps` by a critic that sees a wrong step with chance `hit` and invents one with `false_alarm`."""
    found = wrong_steps(steps, operands)
    draws = counter.uniforms(seed, np.arange(len(steps)))
    called = {k: hit if k in found else false_alarm for k in range(len(steps))}
    return {k: found.get(k, "looks wrong") for k, chance in called.items() if draws[k] < chance}
