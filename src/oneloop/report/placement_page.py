"""The page of a sharding plan: the model's modules coloured by placement, joined by what moves between them.

One file, no requests, no script. Rows are modules in the order in which they run; repeated layers are one
row.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oneloop.core.storage import replace_file
from oneloop.parallel.placement.hand import HandPlan
from oneloop.parallel.placement.notation import parsed, plain
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.summary import Traffic, comm_rows, layered, parameter_rows, traffic
from oneloop.report.template import filled

ROW = 40
"""Height of a row of the graph in pixels."""
DEPTH = 132
"""How far the widest arc reaches to the right, in pixels."""
WIDEST = 14.0
"""Width of the arc with most bytes, in pixels."""


class Arc(NamedTuple):
    """Traffic as drawn."""

    path: str
    kind: str
    width: float
    says: str


def write_placement_page(path: Path, plan: ShardingPlan, hand: Sequence[HandPlan] = ()) -> Path:
    """Write the page of `plan`, with the plans made by hand beside it, to `path`."""
    replace_file(Path(path), render(plan, hand))
    return Path(path)


def render(plan: ShardingPlan, hand: Sequence[HandPlan] = ()) -> str:
    """The page as text."""
    modules = _modules(plan)
    moved = traffic(plan)
    return filled(
        "placement.html",
        ("style.css", "placement.css"),
        kind="sharding plan",
        title=f"{plan.model} on {' x '.join(map(str, plan.mesh))} ranks",
        sentence=_sentence(plan, hand),
        plan=plan,
        facts=_facts(plan),
        rows=[_row(name, plan, moved) for name in modules],
        arcs=_arcs(modules, moved),
        most=max((edge.volume for edge in moved if edge.source != edge.target), default=0),
        row=ROW,
        depth=DEPTH,
        comms=comm_rows(plan),
        hand=[(one, plan.bytes_per_step / one.volume if one.volume else None) for one in hand],
        longest=max([plan.bytes_per_step, *(one.volume for one in hand)], default=1) or 1,
        parameters=parameter_rows(plan),
        mib=mib,
    )


def mib(count: float) -> str:
    """Bytes in the unit that reads best."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count:,.0f} B"


def _sentence(plan: ShardingPlan, hand: Sequence[HandPlan]) -> str:
    moved = f"A step moves {mib(plan.bytes_per_step)} between {'x'.join(map(str, plan.mesh))} ranks"
    best = min((one for one in hand if one.volume), key=lambda one: one.volume, default=None)
    if best is None:
        return f"{moved}."
    ratio = plan.bytes_per_step / best.volume
    return f"{moved}, {ratio:.2f} times what {best.name} does, the best plan by hand."


def _facts(plan: ShardingPlan) -> list[tuple[str, str]]:
    proof = "not proven" if plan.status == "axis by axis" else f"{plan.gap:.2%}"
    return [
        ("sent by a rank", mib(plan.bytes_per_rank)),
        ("collectives", f"{len(plan.collectives):,}"),
        ("parameters on a rank", mib(plan.parameter_memory)),
        ("memory of a rank, at most", mib(plan.memory)),
        ("computed by a rank", f"{plan.flops_per_rank / 1e9:,.2f} GFLOP"),
        ("search", plan.status),
        ("gap to the bound", proof),
    ]


def _modules(plan: ShardingPlan) -> list[str]:
    """Modules that hold parameters or move something, in the order of the parameters, then of the moves."""
    owners = [layered(name.rpartition(".")[0]) for name in plan.parameters]
    users = [name for edge in traffic(plan) for name in (edge.source, edge.target)]
    first: dict[str, None] = dict.fromkeys(owners)
    for user in users:
        if user not in first:
            first = _placed(first, user)
    return list(first)


def _placed(rows: Mapping[str, None], name: str) -> dict[str, None]:
    """Rows with a module put before the first that is inside it, else at the end."""
    names = list(rows)
    inside = [i for i, row in enumerate(names) if row.startswith(f"{name}.")] if name else []
    names.insert(inside[0] if inside else len(names), name)
    return dict.fromkeys(names)


def _row(name: str, plan: ShardingPlan, moved: Sequence[Traffic]) -> dict[str, Any]:
    held: dict[str, int] = {}
    layers = set()
    for parameter, where in plan.parameters.items():
        owner, _, _ = parameter.rpartition(".")
        if layered(owner) == name:
            layers.add(owner)
            text = plain(parsed(where))
            held[text] = held.get(text, 0) + 1
    own = sum(edge.volume for edge in moved if edge.source == edge.target == name)
    return {
        "name": name or "(model)",
        "layers": len(layers),
        "places": [(text, _colour(text), count // max(1, len(layers))) for text, count in held.items()],
        "own": own,
    }


def _colour(where: str) -> str:
    letters = where.split(",")
    if all(letter == "R" for letter in letters):
        return "whole"
    return (
        "both"
        if sum(letter != "R" for letter in letters) > 1
        else f"cut{next(x for x in letters if x != 'R')[1]}"
    )


def _arcs(modules: Sequence[str], moved: Sequence[Traffic]) -> list[Arc]:
    at = {name: index for index, name in enumerate(modules)}
    most = max((edge.volume for edge in moved if edge.source != edge.target), default=1)
    furthest = max((abs(at[e.source] - at[e.target]) for e in moved), default=1) or 1
    found = []
    for edge in sorted(moved, key=lambda edge: -edge.volume):
        if edge.source == edge.target:
            continue
        start, end = (ROW * at[name] + ROW / 2 for name in (edge.source, edge.target))
        start, end = (start + 5, end - 5) if start < end else (start - 5, end + 5)
        reach = 18 + (DEPTH - 36) * (abs(at[edge.source] - at[edge.target]) / furthest) ** 0.5
        width = max(1.0, WIDEST * edge.volume / most)
        says = f"{edge.kind}, {mib(edge.volume)}: {edge.source or '(model)'} to {edge.target or '(model)'}"
        path = f"M0 {start:.0f} C{reach * 1.3:.0f} {start:.0f} {reach * 1.3:.0f} {end:.0f} 0 {end:.0f}"
        found.append(Arc(path, edge.kind, round(width, 1), says))
    return found
