"""A plan told in rows: which collectives run where, where parameters live, and why."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.hand import HandPlan
from oneloop.parallel.placement.notation import parsed, plain
from oneloop.parallel.placement.plan import Move, ShardingPlan


@dataclass(frozen=True)
class CommRow:
    """Collectives of one kind in one place, repeated layers together."""

    kind: str
    count: int
    volume: int
    """Bytes that all ranks send together."""
    per_rank: float
    """Bytes that a rank sends."""
    module: str
    """Name of the module, with `*` for the number of a layer."""
    phase: str


def comm_rows(plan: ShardingPlan) -> list[CommRow]:
    """Collectives by kind, module and phase, most bytes first."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for move in plan.moves:
        for one in move.collectives:
            key = (one.kind, layered(move.module) or "(model)", move.phase)
            sums = found.setdefault(key, [0, 0, 0.0])
            sums[0] += 1
            sums[1] += one.volume
            sums[2] += one.volume_per_rank
    rows = [
        CommRow(kind, int(count), int(volume), per_rank, module, phase)
        for (kind, module, phase), (count, volume, per_rank) in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.volume, row.module, row.kind))


def layered(name: str) -> str:
    """A name with the numbers of layers as `*`."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


@dataclass(frozen=True)
class Traffic:
    """What is moved from one module to another, repeated layers together."""

    source: str
    """The module that made the tensors; of parameters, the module that owns them."""
    target: str
    """The module that uses them."""
    kind: str
    """The collective that moves most of it."""
    volume: int


def traffic(plan: ShardingPlan) -> list[Traffic]:
    """Bytes between modules, most first; source and target are alike where a module moves its own tensors."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for move in plan.moves:
        word, _, maker = move.made_by.partition(" ")
        source = maker.rpartition(".")[0] if word == "parameter" else maker.removeprefix("in ")
        source = move.module if word == "input" else source
        kinds = found.setdefault((layered(source), layered(move.module)), {})
        for one in move.collectives:
            kinds[one.kind] = kinds.get(one.kind, 0) + one.volume
    made = [
        Traffic(source, target, max(kinds, key=kinds.__getitem__), sum(kinds.values()))
        for (source, target), kinds in found.items()
        if sum(kinds.values())
    ]
    return sorted(made, key=lambda one: -one.volume)


@dataclass(frozen=True)
class ParameterRow:
    """Parameters of one role that live alike."""

    name: str
    count: int
    shape: tuple[int, ...]
    where: str


def parameter_rows(plan: ShardingPlan) -> list[ParameterRow]:
    """Placements of parameters; repeated layers that live alike are one row."""
    found: dict[tuple[str, tuple[int, ...], str], int] = {}
    for name, where in plan.parameters.items():
        key = (layered(name), plan.shapes[name], plain(parsed(where)))
        found[key] = found.get(key, 0) + 1
    return [ParameterRow(name, count, shape, where) for (name, shape, where), count in found.items()]


def not_offered(plan: ShardingPlan) -> list[str]:
    """What was not offered to the search and why, in sentences; repeated layers are one."""
    return list(dict.fromkeys(f"{layered(what)}: {why}" for what, why in plan.notes.items()))


def compared(plan: ShardingPlan, hand: Sequence[HandPlan]) -> list[tuple[str, int, float | None]]:
    """(name of the plan made by hand, its bytes, this plan's bytes divided by them); None where it moves
    nothing."""
    return [(one.name, one.volume, plan.bytes_per_step / one.volume if one.volume else None) for one in hand]


def explain(plan: ShardingPlan, name: str) -> list[str]:
    """Why a parameter or a module moves what it moves, in sentences.

    Raises PlacementError for a name that is neither, with the nearest one.
    """
    first = plan.tied.get(name, name)
    if first in plan.parameters:
        return _of_parameter(plan, name, first)
    moves = [move for move in plan.moves if _inside(move.module, name)]
    inside = [parameter for parameter in plan.parameters if _inside(parameter, name)]
    if not moves and not inside:
        known = {move.module for move in plan.moves}
        for parameter in plan.parameters:
            parts = parameter.split(".")
            known |= {".".join(parts[: count + 1]) for count in range(len(parts))}
        near = difflib.get_close_matches(name, sorted(known), n=1)
        raise PlacementError(
            f"the plan has no parameter or module '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")
        )
    total = sum(move.volume for move in moves)
    lines = [f"{name}: {len(inside)} parameters, {total:,} B moved by all ranks in a step"]
    lines += [f"  {parameter} lives at {plain(parsed(plan.parameters[parameter]))}" for parameter in inside]
    return lines + [f"  {said(move)}" for move in moves if move.volume]


def _of_parameter(plan: ShardingPlan, name: str, first: str) -> list[str]:
    shape = "x".join(map(str, plan.shapes[first]))
    lines = [f"{name} ({shape}) lives at {plain(parsed(plan.parameters[first]))}"]
    if name != first:
        lines[0] += f", it is tied to {first}"
    owner = first.rpartition(".")[0]
    moves = [move for move in plan.moves if move.made_by == f"parameter {first}"]
    moves += [move for move in plan.moves if move.module == owner and move not in moves]
    lines += [f"  {said(move)}" for move in moves if move.volume]
    lines += [
        f"  not offered: {what}: {why}" for what, why in plan.notes.items() if what.endswith(f" of {first}")
    ]
    return lines if len(lines) > 1 else [*lines, "  nothing moves for it"]


def said(move: Move) -> str:
    """A move as a sentence."""
    kinds = " then ".join(one.kind for one in move.collectives)
    path = " -> ".join(plain(parsed(stop)) for stop in (move.source, *move.stops))
    shape = "x".join(map(str, move.shape)) or "scalar"
    return (
        f"{move.phase} {kinds} {path} of {shape}, {move.volume:,} B: {move.made_by.strip()}, "
        f"for {move.used_by} in {move.module or 'the model'}"
    )


def _inside(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
