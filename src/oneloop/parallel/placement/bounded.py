"""Solving under bounds: rows for parameters and for work, and rows for moments of the step, added where they
are broken."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from oneloop.parallel.placement.boxing import local_bytes
from oneloop.parallel.placement.fault import Infeasible, PlacementError
from oneloop.parallel.placement.memory import Lifetimes, Span
from oneloop.parallel.placement.problem import Problem, parameter_bytes
from oneloop.parallel.placement.rows import INFINITE, FlowProgram, Solved

ROUNDS = 24
"""Most moments of a step for which the solver is given the bound on memory as rows of their own."""
BOTH = "no plan keeps the bounds on memory and on floating point operations together: allow more of one"
LEAST_SECONDS = 10.0
"""Most seconds spent on finding the smallest budget that would do, once the one asked for turned out to be
too small."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bounds on one rank's bytes and work; None: no bound."""

    parameters: int | None = None
    device: int | None = None
    """Bytes of parameters, of optimiser state, and of all else that is alive at the worst moment of a step,
    together."""
    optimizer: float = 2.0
    """Bytes of optimiser state per byte of parameters: 2 for AdamW in the parameters' precision."""
    flops: float | None = None
    """Most floating point operations of a rank in a step."""


def solve_within(problem: Problem, budget: Budget, seconds: float) -> Solved:
    """The cheapest choice within the budget.

    Raises Infeasible, naming the smallest budget that would do, where there is none, and PlacementError where
    the time ends before any choice is found.
    """
    until = time.monotonic() + seconds
    flow = FlowProgram(problem)
    memory = _parameter_terms(flow)
    if budget.parameters is not None:
        least = _least_parameters(problem)
        if least > budget.parameters:
            raise Infeasible(
                f"the parameters do not fit {_bytes(budget.parameters)} per rank: at the most even split "
                f"they "
                f"take {_bytes(least)}; give at least {_bytes(least)} or a larger mesh",
                least,
            )
        flow.rows.row(memory, 0, budget.parameters)
    if budget.flops is not None:
        _bound_work(flow, budget.flops)
    if budget.device is None:
        return _found(flow.solve(seconds), seconds)
    bounded = _Bounded(flow, budget, memory)
    solved = bounded.cheapest(until)
    if solved.status == "infeasible":
        if not (least := bounded.least(until)):
            raise Infeasible(BOTH)
        raise Infeasible(
            f"a step does not fit {_bytes(budget.device)} per rank: the smallest budget found to do is "
            f"{_bytes(least)} (parameters, optimiser state and what is alive at the worst moment)",
            least,
        )
    return _found(solved, seconds)


def peak(problem: Problem, chosen: tuple[int, ...]) -> int:
    """The most bytes alive at once besides parameters and optimiser state."""
    return max(Lifetimes(problem).alive(chosen))


def parameters_held(problem: Problem, chosen: tuple[int, ...]) -> int:
    """Bytes of parameters on one rank."""
    return sum(parameter_bytes(problem, n, chosen[n]) for n in _parameters(problem))


def _bound_work(flow: FlowProgram, most: float) -> None:
    problem = flow.problem
    terms = [
        (x, problem.flops(operation, option))
        for operation, picks, options in zip(
            problem.program.operations, flow.picks, problem.options, strict=True
        )
        for x, option in zip(picks, options, strict=True)
        if operation.flops
    ]
    largest = max((flops for _, flops in terms), default=1.0)  # the solver wants rows of moderate size
    flow.rows.row([(x, flops / largest) for x, flops in terms], 0, most / largest)


def _found(solved: Solved, seconds: float) -> Solved:
    if solved.status == "infeasible":
        raise Infeasible(BOTH)
    if not solved.chosen:
        raise PlacementError(too_late(seconds))
    return solved


def too_late(seconds: float) -> str:
    """What is said where the time ended before any plan was found."""
    return f"no plan was found in {seconds:g} s: give more time (--seconds, or time_limit in Python)"


def _parameters(problem: Problem) -> list[int]:
    return [n for n, op in enumerate(problem.program.operations) if op.kind == "parameter"]


def _parameter_terms(flow: FlowProgram) -> list[tuple[int, float]]:
    return [
        (x, float(parameter_bytes(flow.problem, n, s)))
        for n in _parameters(flow.problem)
        for s, x in enumerate(flow.picks[n])
    ]


def _least_parameters(problem: Problem) -> int:
    return sum(
        min(parameter_bytes(problem, n, s) for s in range(len(problem.options[n])))
        for n in _parameters(problem)
    )


@dataclass
class _Bounded:
    flow: FlowProgram
    budget: Budget
    memory: list[tuple[int, float]]
    imposed: int = 0

    def __post_init__(self) -> None:
        self.lifetimes = Lifetimes(self.flow.problem)
        self.most = self.flow.rows.variable(0.0, high=INFINITE)
        self.flow.rows.row([(self.most, 1.0)], 0, float(self.budget.device or 0))
        self.bound_row = len(self.flow.rows.limits) - 1

    def cheapest(self, until: float) -> Solved:
        """The cheapest choice whose every moment fits; moments are imposed as they turn out broken."""
        self._impose(len(self.flow.problem.options))
        return self._until_kept(until, None)

    def least(self, until: float) -> int:
        """The smallest budget for which a choice was found."""
        self.flow.rows.limits[self.bound_row] = (0, INFINITE)
        cost = [0.0] * len(self.flow.rows.cost)
        cost[self.most] = 1.0
        solved = self._until_kept(min(until, time.monotonic() + LEAST_SECONDS), cost)
        if not solved.chosen:  # nothing was found in time: take what the cheapest plan needs
            solved = self.flow.solve(max(1.0, until - time.monotonic()))
        return self._needed(solved.chosen) if solved.chosen else 0

    def _until_kept(self, until: float, cost: list[float] | None) -> Solved:
        while True:
            solved = self.flow.solve(max(1.0, until - time.monotonic()), cost)
            if not solved.chosen:
                return solved
            alive = self.lifetimes.alive(solved.chosen)
            worst = max(range(len(alive)), key=alive.__getitem__)
            fits = self._needed(solved.chosen) <= (self.budget.device or 0)
            if cost is None and fits or self.imposed >= ROUNDS or not self._impose(worst):
                if cost is None and not fits:
                    return Solved((), INFINITE, INFINITE, "infeasible")
                return solved

    def _needed(self, chosen: tuple[int, ...]) -> int:
        held = parameters_held(self.flow.problem, chosen)
        return math.ceil(held * (1 + self.budget.optimizer)) + max(self.lifetimes.alive(chosen))

    def _impose(self, moment: int) -> bool:
        """Bound what is alive at a moment; False where it is bounded already."""
        moments = self.__dict__.setdefault("moments", set())
        if moment in moments:
            return False
        moments.add(moment)
        self.imposed += 1
        terms = [(x, size * (1 + self.budget.optimizer)) for x, size in self.memory]
        for span in self.lifetimes.made():
            if span.first <= moment <= span.last:
                terms += self._terms(span)
        for (value, _, target), variable in self.flow.moves.items():
            # A copy may live shorter than this; the bound is on the safe side.
            uses = self.flow.problem.uses[value]
            ends = [
                len(self.flow.problem.options) if u.slot < 0 or u.operation < 0 else u.operation for u in uses
            ]
            if min(ends) <= moment <= max(ends):
                size = local_bytes(value.meta, target, self.flow.problem.boxing.sizes)
                terms.append((variable, float(size)))
        self.flow.rows.row([*terms, (self.most, -1.0)], -INFINITE, 0)
        return True

    def _terms(self, span: Span) -> Sequence[tuple[int, float]]:
        problem = self.flow.problem
        producer = problem.producer[span.value]
        found = []
        for x, option in zip(self.flow.picks[producer], problem.options[producer], strict=True):
            where = option.outputs[span.value.index]
            if where is not None:
                found.append((x, float(local_bytes(span.value.meta, where, problem.boxing.sizes))))
        return found


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"
