"""Writes a solution down as a plan: placements, moves, volumes, memory."""

import hashlib
import math
from collections.abc import Sequence

from oneloop.parallel.placement.bounded import parameters_held, peak
from oneloop.parallel.placement.notation import Where, shown
from oneloop.parallel.placement.operations import Program, Value
from oneloop.parallel.placement.plan import Move, ShardingPlan
from oneloop.parallel.placement.problem import Problem
from oneloop.parallel.placement.rows import Solved
from oneloop.parallel.placement.search import Search


def described(problem: Problem, solved: Solved, search: Search, name: str, seconds: float) -> ShardingPlan:
    """The plan that a solution stands for."""
    chosen = [problem.options[n][s] for n, s in enumerate(solved.chosen)]
    operations = problem.program.operations
    moves = _moves(problem, solved.chosen)
    link = problem.boxing.link
    parameters = {
        op.of: (shown(signature.outputs[0] or ()), tuple(op.outputs[0].meta.shape) if op.outputs[0] else ())
        for op, signature in zip(operations, chosen, strict=True)
        if op.kind == "parameter"
    }
    held = parameters_held(problem, solved.chosen)
    flops = sum(problem.flops(op, signature) for op, signature in zip(operations, chosen, strict=True))
    moving = sum(one.seconds(link) for move in moves for one in move.collectives)
    return ShardingPlan(
        mesh=search.sizes,
        model=name,
        link=link.name,
        objective=problem.objective,
        fingerprint=fingerprint(problem.program, search.sizes),
        parameters={key: text for key, (text, _) in parameters.items()},
        shapes={key: shape for key, (_, shape) in parameters.items()},
        tied=dict(problem.program.step.tied),
        inputs={
            op.of: shown(signature.outputs[0] or ())
            for op, signature in zip(operations, chosen, strict=True)
            if op.kind == "input"
        },
        signatures={
            op.name: (
                tuple(map(shown, signature.inputs)),
                tuple(None if where is None else shown(where) for where in signature.outputs),
                signature.local,
            )
            for op, signature in zip(operations, chosen, strict=True)
        },
        moves=moves,
        seconds=moving + flops / link.flops,
        flops_per_rank=flops,
        parameter_memory=held,
        optimizer_memory=math.ceil(held * search.wishes.budget.optimizer),
        activation_memory=peak(problem, solved.chosen),
        cost=solved.cost,
        bound=max(solved.bound, 0.0),
        status=solved.status,
        solve_seconds=seconds,
        notes=dict(search.prober.notes),
    )


def _moves(problem: Problem, chosen: tuple[int, ...]) -> tuple[Move, ...]:
    operations = problem.program.operations
    found: list[tuple[int, Move]] = []
    for value, uses in problem.uses.items():
        producer = problem.producer[value]
        source = problem.options[producer][chosen[producer]].outputs[value.index]
        assert source is not None
        firsts: dict[Where, tuple[int, str]] = {}
        for use in uses:
            target = problem.wanted(use, chosen[use.operation])
            end = use.slot < 0 or use.operation < 0
            when = len(operations) if end else use.operation
            reader = ("gradient" if use.slot < 0 else "loss") if end else operations[use.operation].name
            firsts[target] = min(firsts.get(target, (when, reader)), (when, reader))
        for target, (when, reader) in firsts.items():
            if target != source:
                found.append((when, _move(problem, value, source, target, (when, reader))))
    return tuple(move for _, move in sorted(found, key=lambda one: one[0]))


def _move(problem: Problem, value: Value, source: Where, target: Where, first: tuple[int, str]) -> Move:
    operations = problem.program.operations
    route = problem.boxing.route(value.meta, source, target)
    assert route is not None
    maker = operations[problem.producer[value]]
    reader = operations[first[0]] if first[0] < len(operations) else maker
    several = f":{value.index}" if len(maker.outputs) > 1 else ""
    made_by = (
        f"{maker.kind} {maker.of}" if maker.kind in ("parameter", "input") else f"{maker.name} in {maker.of}"
    )
    return Move(
        value=value.producer + several,
        shape=tuple(value.meta.shape),
        source=shown(source),
        stops=tuple(map(shown, route.stops)),
        collectives=route.collectives,
        module=reader.of,
        phase=reader.phase,
        used_by=first[1],
        made_by=made_by,
    )


def fingerprint(traced: Program, sizes: Sequence[int]) -> str:
    """Hash of the step's operations, shapes, dtypes and names, and of the mesh."""
    text = [f"mesh {'x'.join(map(str, sizes))}"]
    for operation in traced.operations:
        metas = [
            None if value is None else (tuple(value.meta.shape), str(value.meta.dtype))
            for value in operation.outputs
        ]
        name = operation.of if operation.kind in ("parameter", "input") else ""
        text.append(f"{operation.name} {operation.node.target} {operation.node.args} {metas} {name}")
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]
