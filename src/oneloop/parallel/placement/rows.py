"""The choice as an integer program in flow form.

Variables: x[n,s], operation n runs with signature s; e[v,k,a,b], use k of value v takes it from placement a
to b; t[v,a,b], value v is moved from a to b, once for all its uses.

    sum_s x[n,s] = 1
    sum_b e[v,k,a,b] = sum of x[n,s] whose output v is at a;   sum_a e[v,k,a,b] = sum of x of the use at b
    t[v,a,b] >= e[v,k,a,b]
    minimise  sum t price + sum x work + ties
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from oneloop.parallel.placement.notation import Where
from oneloop.parallel.placement.operations import Value
from oneloop.parallel.placement.problem import Problem, Use

INFINITE = float("inf")


@dataclass
class SparseRows:
    """Sparse rows `low <= row . x <= high` and costs, under construction."""

    cost: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    """Largest value of each variable."""
    whole: list[bool] = field(default_factory=list)
    """Whether each variable is an integer."""
    entries: tuple[list[int], list[int], list[float]] = field(default_factory=lambda: ([], [], []))
    limits: list[tuple[float, float]] = field(default_factory=list)

    def variable(self, cost: float, *, whole: bool = False, high: float = 1.0) -> int:
        """A new variable between 0 and `high`; its index."""
        self.cost.append(cost)
        self.high.append(high)
        self.whole.append(whole)
        return len(self.cost) - 1

    def row(self, terms: Sequence[tuple[int, float]], low: float, high: float) -> None:
        """A new row."""
        rows, columns, values = self.entries
        for column, value in terms:
            rows.append(len(self.limits))
            columns.append(column)
            values.append(value)
        self.limits.append((low, high))


@dataclass(frozen=True)
class Solved:
    """What the solver returned."""

    chosen: tuple[int, ...]
    """Signature per operation; empty where there is no solution."""
    bound: float
    """Lower bound on the cost of any choice. What decides ties may shift it by less than 1/50 of a scalar's
    all-reduce."""
    cost: float
    status: str
    """`optimal`, `time limit` or `infeasible`."""


@dataclass
class FlowProgram:
    """The integer program of a problem."""

    problem: Problem
    rows: SparseRows = field(default_factory=SparseRows)
    picks: list[list[int]] = field(default_factory=list)
    """Variables x of each operation."""
    moves: dict[tuple[Value, Where, Where], int] = field(default_factory=dict)
    """Variables t; of a value with one use, its e."""

    def __post_init__(self) -> None:
        ties = self._ties()
        operations = self.problem.program.operations
        for n, options in enumerate(self.problem.options):
            self.picks.append(
                [
                    self.rows.variable(
                        self.problem.work(operations[n], option) + ties * self.problem.preference(n, option),
                        whole=True,
                    )
                    for option in options
                ]
            )
            self.rows.row([(x, 1.0) for x in self.picks[n]], 1, 1)
        for value, uses in self.problem.uses.items():
            self._value(value, uses, ties)

    def _ties(self) -> float:
        # All ties together weigh less than 1/50 of the cheapest collective: a scalar's all-reduce.
        smallest = min((self.problem.price(route) for route in self.problem.boxing.smallest()), default=1.0)
        return smallest / (50 * max(1, len(self.problem.options)))

    def tied(self, chosen: Sequence[int]) -> float:
        """What the ties of a choice add to its cost."""
        ties = self._ties()
        picked = ((n, self.problem.options[n][s]) for n, s in enumerate(chosen))
        return ties * sum(self.problem.preference(n, option) for n, option in picked)

    def _value(self, value: Value, uses: Sequence[Use], ties: float) -> None:
        producer = self.problem.producer[value]
        made: dict[Where, list[int]] = {}
        for x, option in zip(self.picks[producer], self.problem.options[producer], strict=True):
            where = option.outputs[value.index]
            assert where is not None
            made.setdefault(where, []).append(x)
        shared: dict[tuple[Where, Where], list[int]] = {}
        for use in uses:
            self._use(value, use, made, shared)
        for (a, b), edges in shared.items():
            route = self.problem.route(value, a, b)
            assert route is not None
            cost = self.problem.price(route)
            if len(edges) == 1:
                self.rows.cost[edges[0]] += cost
                self.moves[value, a, b] = edges[0]
                continue
            t = self.moves[value, a, b] = self.rows.variable(cost)
            for edge in edges:
                self.rows.row([(t, 1.0), (edge, -1.0)], 0, INFINITE)

    def _use(
        self,
        value: Value,
        use: Use,
        made: dict[Where, list[int]],
        shared: dict[tuple[Where, Where], list[int]],
    ) -> None:
        taken: dict[Where, list[int]] = {}
        if use.operation < 0:
            taken[self.problem.wanted(use, 0)] = []
        else:
            for s, x in enumerate(self.picks[use.operation]):
                taken.setdefault(self.problem.wanted(use, s), []).append(x)
        left: dict[Where, list[tuple[int, float]]] = {a: [] for a in made}
        right: dict[Where, list[tuple[int, float]]] = {b: [] for b in taken}
        for a in made:
            for b in taken:
                if self.problem.route(value, a, b) is None:
                    continue
                e = self.rows.variable(0.0)
                left[a].append((e, 1.0))
                right[b].append((e, 1.0))
                if a != b:
                    shared.setdefault((a, b), []).append(e)
        for a, terms in left.items():
            self.rows.row([*terms, *((x, -1.0) for x in made[a])], 0, 0)
        for b, terms in right.items():
            fixed = 1.0 if use.operation < 0 else 0.0
            self.rows.row([*terms, *((x, -1.0) for x in taken[b])], fixed, fixed)

    def solve(self, seconds: float, cost: Sequence[float] | None = None) -> Solved:
        """The cheapest choice found within `seconds`."""
        rows = self.rows
        shape = (len(rows.limits), len(rows.cost))
        i, j, values = rows.entries
        matrix = csr_array((values, (i, j)), shape=shape)
        low, high = np.array(rows.limits).T
        objective = np.array(rows.cost if cost is None else cost)
        # Costs near 1 keep the solver's tolerances meaningful for bytes and for seconds.
        scale = float(np.abs(objective).max()) or 1.0
        scale = max(scale * 1e-6, float(objective[objective > 0].min(initial=scale)))
        found = milp(
            objective / scale,
            integrality=np.array(rows.whole, dtype=int),
            bounds=Bounds(0, np.array(rows.high)),
            constraints=LinearConstraint(matrix, low, high),
            options={"time_limit": seconds, "mip_rel_gap": 0.0},
        )
        if found.x is None:
            return Solved((), INFINITE, INFINITE, "infeasible" if found.status == 2 else "time limit")
        chosen = tuple(int(np.argmax(found.x[xs])) for xs in self.picks)
        bound = float(found.mip_dual_bound) * scale if found.mip_dual_bound is not None else -INFINITE
        return Solved(
            chosen, bound, float(found.fun) * scale, "optimal" if found.status == 0 else "time limit"
        )
