"""The plan by which a learner's weights lie on the ranks: from a file, or solved for at the start."""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.fault import Infeasible, PlacementError
from oneloop.parallel.placement.plan import ShardingPlan
from oneloop.parallel.placement.planner import plan
from oneloop.parallel.placement.search import Wishes
from oneloop.parallel.ranks.planned import plain
from oneloop.parallel.ranks.world import World

LENGTH = 64
"""Tokens of a sequence that a plan is solved for, if the model reads as many."""


def which_plan(
    model: nn.Module, file: str | None, mesh: Sequence[int] | None, tokens: int, world: World
) -> ShardingPlan:
    """The plan in `file`, or without one the cheapest for `tokens` a step on `mesh` with even shares.

    Raises PlacementError on every rank for a plan that is not of this model and number of ranks, and
    RanksDiffer with the hashes where ranks have read different plans.
    """
    if file is None:
        sizes = tuple(mesh or (world.size,))
        _fits(sizes, world.size)
        return ShardingPlan.from_json(world.first(lambda: solved(model, sizes, tokens).to_json()))
    fault = None
    try:
        found = _read(file)
        _check(found, model, world.size)
        said = found.digest
    except (PlacementError, OSError) as error:
        said, fault = str(error), PlacementError(f"learner.plan: {error}")
    world.agree("learner.plan", said)
    if fault is not None:
        raise fault
    return found


def _read(file: str) -> ShardingPlan:
    if not Path(file).is_file():
        raise PlacementError(
            f"there is no plan {file}; `oneloop plan MODEL --mesh N --json {file}` makes one"
        )
    return ShardingPlan.read(Path(file))


def solved(model: nn.Module, mesh: tuple[int, ...], tokens: int) -> ShardingPlan:
    """The cheapest plan for steps of `tokens` tokens on `mesh`, each rank with an even share of weights."""
    empty = _empty(model)
    most = getattr(empty.config, "max_position_embeddings", None) or LENGTH
    length, ranks = min(LENGTH, most), math.prod(mesh)
    rows = max(ranks, tokens // length // ranks * ranks)
    ids = torch.zeros(rows, length, dtype=torch.long)
    held = sum(weight.numel() * weight.element_size() for weight in empty.parameters())

    def within(share: int) -> ShardingPlan:
        wishes = Wishes(budget=Budget(parameters=share), packed=False)
        return plan(empty, mesh, {"input_ids": ids, "labels": ids}, wishes)

    try:
        return within(math.ceil(held / ranks))
    except Infeasible as error:  # what cannot be cut evenly lies whole
        if error.smallest is None:
            raise
        return within(error.smallest)


def _empty(model: Any) -> Any:
    """A model of this kind without adapters or memory, whose step has fixed shapes."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not hasattr(type(bare), "_from_config"):
        raise PlacementError(f"{type(bare).__name__} is no transformers model: take fsdp2 or ddp")
    config = copy.deepcopy(bare.config)
    config.use_cache = False
    config._attn_implementation, config._experts_implementation = "eager", "batched_mm"
    with torch.device("meta"):
        return type(bare)._from_config(config).to(bare.dtype).eval()


def _fits(mesh: Sequence[int], ranks: int) -> None:
    if math.prod(mesh) != ranks:
        sizes = "x".join(map(str, mesh))
        raise PlacementError(
            f"the plan is for {math.prod(mesh)} ranks (mesh {sizes}), this run has {ranks}; make another, "
            "or take fsdp2"
        )


def _check(found: ShardingPlan, model: nn.Module, ranks: int) -> None:
    _fits(found.mesh, ranks)
    named = {plain(name): weight for name, weight in model.named_parameters(remove_duplicate=False)}
    for name in found.parameters:
        if name not in named:
            raise PlacementError(f"the plan is for a {found.model} with {name}, which this model has not")
        if "/" in (where := found.parameters[name]):
            raise PlacementError(
                f"the plan cuts {name} within its parts ({where}), which a learner does not; make one with "
                "--no-packed"
            )
        shape, own = tuple(found.shapes.get(name, named[name].shape)), tuple(named[name].shape)
        if shape != own:
            raise PlacementError(f"the plan is for a model whose {name} is {shape}; here it is {own}")
