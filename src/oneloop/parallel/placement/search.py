"""The search for a plan: at once on a mesh of one axis, axis by axis on others."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from oneloop.parallel.placement.bounded import Budget, solve_within, too_late
from oneloop.parallel.placement.boxing import Boxing
from oneloop.parallel.placement.fault import Infeasible, PlacementError
from oneloop.parallel.placement.link import Link
from oneloop.parallel.placement.meshes import planning_mesh
from oneloop.parallel.placement.notation import Where, parsed
from oneloop.parallel.placement.operations import Program
from oneloop.parallel.placement.options import Open
from oneloop.parallel.placement.problem import Objective, Problem
from oneloop.parallel.placement.rows import Solved
from oneloop.parallel.placement.signatures import Prober, Signature

PASSES = 4
"""Most times that each axis of a mesh of several axes is planned again with the others held."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is asked of a plan: its bounds, its objective, and placements that are given."""

    budget: Budget = field(default_factory=Budget)
    pins: Mapping[str, str] = field(default_factory=dict)
    """Placements that parameters and inputs must have, by name, such as {"lm_head.weight": "S0"}."""
    still: frozenset[str] = frozenset()
    """Parameters that every operation must take as they lie: their weights are never gathered."""
    packed: bool = True
    """Whether weights that pack several may be cut within each part, as `S0/2`."""
    objective: Objective = "bytes"
    balance: float = 0.05
    """For the objective bytes: bytes that weigh as much as one floating point operation of a rank.

    At 0 computing everything on every rank costs nothing, and the cheapest plan moves 0 bytes.
    """
    link: Link = field(default_factory=Link.dtensor_cpu)
    time_limit: float = 60.0
    """Seconds for the solver."""


class Search:
    """The search for one plan."""

    def __init__(self, traced: Program, sizes: tuple[int, ...], wishes: Wishes):
        self.traced, self.sizes, self.wishes = traced, sizes, wishes
        packed = traced.step.packed if wishes.packed else frozenset()
        # DTensor does not run packed cuts beside cuts along other mesh axes as its own rules say.
        self.prober = Prober(packed=packed if len(sizes) == 1 else frozenset())
        if packed and len(sizes) > 1:
            packs = ", ".join(f"{size} = {parts} x {size // parts}" for size, parts in sorted(packed))
            self.prober.notes[f"cuts within the parts of packed axes ({packs})"] = "the mesh has several axes"
        self.boxing = Boxing(planning_mesh(sizes), wishes.link)
        known = {op.of for op in traced.operations if op.kind in ("parameter", "input")}
        pins = {self.traced.step.tied.get(name, name): text for name, text in wishes.pins.items()}
        for name in pins:
            if name not in known:
                raise PlacementError(f"pins: no parameter or input is called '{name}'")
        for name, first in self.traced.step.tied.items():
            if wishes.pins.get(first, pins.get(first)) != wishes.pins.get(name, pins.get(first)):
                raise PlacementError(f"pins: {name} and {first} are one tensor and have two pins")
        self.open = Open(
            prober=self.prober, sizes=sizes, pins={name: self._pin(name, text) for name, text in pins.items()}
        )

    def _pin(self, name: str, text: str) -> Where:
        where = parsed(text)
        if len(where) != len(self.sizes):
            raise PlacementError(
                f"pins: {name} needs {len(self.sizes)} placements, one per mesh axis, got '{text}'"
            )
        return where

    def run(self) -> tuple[Problem, Solved]:
        """The problem and its solution; on a mesh of several axes found axis by axis."""
        cut = [axis for axis, size in enumerate(self.sizes) if size > 1]
        if len(cut) <= 1:
            problem = self._problem(self.open.options(self.traced.operations))
            return problem, solve_within(problem, self.wishes.budget, self.wishes.time_limit)
        orders, found, late = (cut, cut[::-1]), [], False
        for order in orders:
            try:
                found.append(self._by_axis(order, self.wishes.time_limit / len(orders)))
            except Infeasible:
                continue
            except PlacementError:
                late = True
        if late and not found:
            raise PlacementError(too_late(self.wishes.time_limit))
        if not found:
            raise Infeasible(
                "no placement found axis by axis fits the budget; give more memory or a larger mesh"
            )
        return min(found, key=lambda one: one[1].cost)

    def _problem(self, options: tuple[tuple[Signature, ...], ...]) -> Problem:
        return Problem(
            program=self.traced,
            options=options,
            boxing=self.boxing,
            objective=self.wishes.objective,
            balance=self.wishes.balance,
            still=self.wishes.still,
        )

    def _by_axis(self, order: Sequence[int], seconds: float) -> tuple[Problem, Solved]:
        """Plan one axis after the other, each with the others held, until none gets better.

        Raises Infeasible, and PlacementError where the time ends before all axes are planned.
        """
        until = time.monotonic() + seconds
        held = [self._start(n, options[0]) for n, options in enumerate(self._unpinned())]
        best: tuple[Problem, Solved] | None = None
        for turn in range(PASSES):
            before = best[1].cost if best else math.inf
            for position, axis in enumerate(order):
                left = math.prod(self.sizes[a] for a in order[position + 1 :]) if turn == 0 else 1
                options = self.open.options(self.traced.operations, held, axis)
                problem = self._problem(options)
                try:
                    solved = solve_within(
                        problem, _looser(self.wishes.budget, left), max(2.0, until - time.monotonic())
                    )
                except PlacementError:
                    if best is None:
                        raise
                    return best
                held = [options[n][s] for n, s in enumerate(solved.chosen)]
                if left == 1:
                    best = problem, replace(solved, status="axis by axis", bound=-math.inf)
            assert best is not None  # the last axis of the first turn has made it
            if best[1].cost >= before * (1 - 1e-9) or time.monotonic() > until or turn == PASSES - 1:
                return best
        raise AssertionError("unreachable")

    def _start(self, operation: int, whole: Signature) -> Signature:
        """Where an operation's tensors are before any axis is planned: whole, or as they are pinned."""
        of = self.traced.operations[operation]
        pin = self.open.pins.get(of.of) if of.kind in ("parameter", "input") else None
        return whole if pin is None else replace(whole, outputs=(pin,))

    def _unpinned(self) -> tuple[tuple[Signature, ...], ...]:
        free = Open(prober=self.prober, sizes=tuple(1 for _ in self.sizes))
        return free.options(self.traced.operations)


def _looser(budget: Budget, factor: int) -> Budget:
    return replace(
        budget,
        parameters=None if budget.parameters is None else budget.parameters * factor,
        device=None if budget.device is None else budget.device * factor,
        flops=None if budget.flops is None else budget.flops * factor,
    )
