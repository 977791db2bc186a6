"""`oneloop plan`: where the tensors of a model live on many ranks, which collectives that takes, and what it
saves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from oneloop.cli.plan_check import check as run_check
from oneloop.cli.plan_model import built, sample
from oneloop.cli.terminal import console, say
from oneloop.cli.written import new_file
from oneloop.core import hub
from oneloop.core.storage import replace_file
from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.hand import HAND, HandPlan, data_parallel, megatron, per_linear, zero3
from oneloop.parallel.placement.link import Link
from oneloop.parallel.placement.meshes import mesh_sizes
from oneloop.parallel.placement.operations import Program, program
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.planner import plan_traced
from oneloop.parallel.placement.problem import Objective
from oneloop.parallel.placement.search import Wishes
from oneloop.parallel.placement.summary import comm_rows, explain, not_offered, parameter_rows
from oneloop.parallel.placement.trace import trace
from oneloop.report.placement_page import write_placement_page

LINKS = {"ring": Link.ring, "dtensor_cpu": Link.dtensor_cpu, "gloo_wire": Link.gloo_wire}
UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def plan(
    model: Annotated[str, typer.Argument(help="Folder, hub name, or config.json of a model.")],
    mesh: Annotated[str, typer.Option(help="Ranks per mesh axis, such as 4 or 2x4.")] = "4",
    memory: Annotated[str, typer.Option(help="Most memory of a rank, such as 24GiB.")] = "",
    parameters: Annotated[
        str, typer.Option(help="Most memory of parameters on a rank, such as 8GiB, or a share such as 1/4.")
    ] = "",
    compare: Annotated[str, typer.Option(help=f"Plans made by hand to compare, of {','.join(HAND)}.")] = "",
    batch: Annotated[int, typer.Option(min=1, help="Rows of the whole batch.")] = 8,
    length: Annotated[int, typer.Option(min=1, help="Tokens of a row.")] = 512,
    dtype: Annotated[str, typer.Option(help="Type of the weights.")] = "float32",
    link: Annotated[str, typer.Option(help=f"Kind of link, of {', '.join(LINKS)}.")] = "dtensor_cpu",
    objective: Annotated[Objective, typer.Option(help="What to keep small.")] = "bytes",
    balance: Annotated[
        float, typer.Option(min=0, help="Bytes that a floating point operation weighs as much as.")
    ] = 0.05,
    packed: Annotated[
        bool, typer.Option(help="Cut weights that pack several within each part, as Megatron does.")
    ] = True,
    seconds: Annotated[float, typer.Option(min=1, help="Most seconds for the solver.")] = 120.0,
    check: Annotated[
        bool, typer.Option("--check", help="Run a step on gloo ranks: predicted against recorded.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="File to write the plan to.", callback=new_file)] = None,
    html: Annotated[
        Path | None, typer.Option(help="Page to write, the model as a graph.", callback=new_file)
    ] = None,
    explained: Annotated[
        list[str] | None, typer.Option("--explain", help="Parameter or module to explain; repeatable.")
    ] = None,
) -> None:
    """Plan where the tensors of a model live on many ranks.

    No process and no weights are needed; shapes of one training step are.

    Example: oneloop plan ./model --mesh 2x4 --memory 24GiB --compare hf,megatron,zero3
    """
    if link not in LINKS:
        raise PlacementError(f"--link: must be one of {', '.join(LINKS)}, got '{link}'")
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise PlacementError(f"--dtype: must be a floating point type such as bfloat16, got '{dtype}'")
    names, most = hand_names(compare), bytes_of("--memory", memory)
    sizes = mesh_sizes(mesh)
    with hub.asked(model):
        empty = built(model, kind)
    held = sum(p.numel() * p.element_size() for p in empty.parameters())
    budget = Budget(parameters=_share(parameters, held), device=most)
    given = sample(empty.config, batch, length, kind)
    say(f"tracing {type(empty).__name__}")
    traced = program(trace(empty, given))
    how: dict[str, Any] = {
        "objective": objective,
        "balance": balance,
        "link": LINKS[link](),
        "packed": packed,
    }
    wishes = Wishes(budget=budget, time_limit=seconds, **how)
    say(f"planning {len(traced.operations):,} operations on {mesh} ranks")
    found = plan_traced(traced, sizes, wishes, name=type(empty).__name__)
    hand = [one for name in names if (one := _hand(name, traced, empty, given, wishes, sizes))]
    for part in tables(found, hand):
        console.print(part)
    for name in explained or ():
        console.print("\n".join(explain(found, name)), markup=False, highlight=False, soft_wrap=True)
    if json:
        replace_file(json, found.to_json())
        say(f"written: {json}")
    if html:
        write_placement_page(html, found, hand)
        say(f"written: {html}")
    if check:
        _checked(found, model, kind, batch, length)


def hand_names(text: str) -> list[str]:
    """Names of plans made by hand in a list with commas. Raises PlacementError for others."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in HAND:
            raise PlacementError(f"--compare: must be of {', '.join(HAND)}, got '{name}'")
    return names


def bytes_of(option: str, text: str) -> int | None:
    """Bytes written as `24GiB`; None for nothing. Raises PlacementError for other text."""
    if not text:
        return None
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(digits) :].strip().lower()
    try:
        return math.floor(float(digits) * UNITS[unit])
    except (ValueError, KeyError) as error:
        raise PlacementError(f"{option}: must be a size such as 24GiB or 512MiB, got '{text}'") from error


def _share(text: str, held: int) -> int | None:
    part, slash, whole = text.partition("/")
    if slash and part.isdigit() and whole.isdigit() and 0 < int(part) <= int(whole):
        return math.ceil(held * int(part) / int(whole))
    if slash:
        raise PlacementError(
            f"--parameters: must be a size such as 8GiB or a share such as 1/4, got '{text}'"
        )
    return bytes_of("--parameters", text)


def _hand(
    name: str, traced: Program, model: Any, given: dict[str, Any], wishes: Wishes, sizes: Sequence[int]
) -> HandPlan | None:
    try:
        if name == "hf":
            return per_linear(model, sizes, given)
        if name == "megatron":
            return megatron(traced, sizes, model, wishes)
        return (data_parallel if name == "dp" else zero3)(traced, sizes)
    except PlacementError as error:
        say(f"{name}: {error}")
        return None


def tables(found: ShardingPlan, hand: Sequence[HandPlan]) -> list[Any]:
    """What is printed: collectives, totals, comparison, placements, and what was not offered."""
    comms = Table("collective", box=None, header_style="bold", pad_edge=False)
    for name in ("count", "MiB in all", "MiB a rank"):
        comms.add_column(name, justify="right")
    comms.add_column("pass")
    comms.add_column("module")
    for row in comm_rows(found):
        comms.add_row(row.kind, str(row.count), mib(row.volume), mib(row.per_rank), row.phase, row.module)
    parts: list[Any] = [comms, "", total(found), ""]
    if hand:
        parts += [_comparison(found, hand), ""]
    places = Table("parameter", "layers", "shape", "lives at", box=None, header_style="bold", pad_edge=False)
    for one in parameter_rows(found):
        places.add_row(one.name, str(one.count), "x".join(map(str, one.shape)), one.where)
    parts.append(places)
    if found.notes:
        parts += ["", "not offered:", *(f"  {sentence}" for sentence in not_offered(found))]
    return parts


def total(found: ShardingPlan) -> str:
    """The plan's sums in two lines."""
    proof = f"gap {found.gap:.1e}" if found.status != "axis by axis" else "not proven the best"
    if found.status == "time limit":
        proof += " (more --seconds may close it)"
    flops = found.flops_per_rank / 1e9
    return (
        f"{mib(found.bytes_per_step)} MiB in all, {mib(found.bytes_per_rank)} MiB a rank; {found.status}, "
        f"{proof}, solved in {found.solve_seconds:.1f} s\n"
        f"a rank holds {mib(found.parameter_memory)} MiB of parameters, {mib(found.optimizer_memory)} of "
        f"optimiser state, at most {mib(found.activation_memory)} besides, and computes {flops:,.3g} GFLOP"
    )


def _comparison(found: ShardingPlan, hand: Sequence[HandPlan]) -> Table:
    made = Table("plan by hand", box=None, header_style="bold", pad_edge=False)
    for name in ("MiB in all", "this plan over it", "MiB of parameters a rank", "GFLOP a rank"):
        made.add_column(name, justify="right")
    made.add_column("what it is")
    for one in hand:
        ratio = f"{found.bytes_per_step / one.volume:.3f}" if one.volume else "-"
        work = "-" if one.flops_per_rank is None else f"{one.flops_per_rank / 1e9:,.3g}"
        made.add_row(one.name, mib(one.volume), ratio, mib(one.parameter_memory), work, one.remark)
    return made


def mib(count: float) -> str:
    """Bytes as MiB with three digits."""
    return f"{count / (1 << 20):,.3f}"


def _checked(found: ShardingPlan, model: str, dtype: torch.dtype, batch: int, length: int) -> None:
    say(f"running a step on {math.prod(found.mesh)} gloo ranks")
    ran = run_check(found, model, dtype, batch, length)
    console.print(f"predicted {found.bytes_per_step:,} B, recorded {ran.recorded:,} B", highlight=False)
    for sentence in ran.differs:
        console.print(f"  {sentence}", markup=False, highlight=False)
    console.print(f"largest gap of a gradient to one process: {ran.gap:.1e} of the largest", highlight=False)
    if ran.differs:
        raise PlacementError("what ran is not what was planned: report this with your version of torch")
