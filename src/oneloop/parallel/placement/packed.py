"""Axes that pack several tensors: the rows of a weight for queries, keys and values, or gate and projection.

Where a step splits an axis into k equal parts, the split is rewritten as a view with an axis of k and
selections from it, and the joining of the k gradients as a stack and a view; both only name memory anew.
DTensor carries the cut `S0/k` of `oneloop.parallel.placement.notation` through them, so that a rank can hold
a piece of every part, as Megatron lays such weights out. Through the split itself it carries none.
"""

from collections.abc import Callable
from operator import getitem
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

Packed = frozenset[tuple[int, int]]
"""(size of the axis, number of parts)."""


def unpacked(graph: fx.Graph) -> Packed:
    """Rewrite the graph's even splits in place; the packed axes found."""
    found = set()
    for node in list(graph.nodes):
        if parts := _parts(node):
            size = node.args[0].meta["val"].shape[_axis(node)]
            found.add((size, parts))
            _open(graph, node, parts)
    for node in list(graph.nodes):
        if node.target is aten.cat.default and node.meta.get("phase") == "backward":
            size, parts = node.meta["val"].shape[_axis(node)], len(node.args[0])
            shapes = {one.meta["val"].shape for one in node.args[0]}
            if (size, parts) in found and len(shapes) == 1:
                _close(graph, node)
    return frozenset(found)


def _parts(node: fx.Node) -> int:
    """Into how many equal parts a node splits its axis; 0 where it does not."""
    if node.target not in (aten.split.Tensor, aten.split_with_sizes.default):
        return 0
    if any(user.target is not getitem for user in node.users):
        return 0
    sizes = {part.shape[_axis(node)] for part in node.meta["val"]}
    return len(node.meta["val"]) if len(sizes) == 1 and len(node.meta["val"]) > 1 else 0


def _axis(node: fx.Node) -> int:
    position = 1 if node.target is aten.cat.default else 2
    axis = node.args[position] if len(node.args) > position else node.kwargs.get("dim", 0)
    made = node.meta["val"]
    shape = made.shape if isinstance(made, torch.Tensor) else made[0].shape
    assert isinstance(axis, int)
    return axis % len(shape)


def _open(graph: fx.Graph, node: fx.Node, parts: int) -> None:
    axis, source = _axis(node), node.args[0]
    assert isinstance(source, fx.Node)
    shape = list(source.meta["val"].shape)
    divided = [*shape[:axis], parts, shape[axis] // parts, *shape[axis + 1 :]]
    with graph.inserting_before(node):
        view = _new(graph, node, aten.view.default, (source, divided))
        picked = [_new(graph, node, aten.select.int, (view, axis, index)) for index in range(parts)]
    for user in list(node.users):
        index: Any = user.args[1]
        user.replace_all_uses_with(picked[index])
        graph.erase_node(user)
    graph.erase_node(node)


def _close(graph: fx.Graph, node: fx.Node) -> None:
    with graph.inserting_before(node):
        stacked = _new(graph, node, aten.stack.default, (node.args[0], _axis(node)))
        joined = _new(graph, node, aten.view.default, (stacked, list(node.meta["val"].shape)))
    node.replace_all_uses_with(joined)
    graph.erase_node(node)


def _new(graph: fx.Graph, instead: fx.Node, target: Callable[..., Any], args: tuple[Any, ...]) -> fx.Node:
    made = graph.call_function(target, args)
    made.meta = {key: instead.meta[key] for key in ("module", "phase") if key in instead.meta}
    made.meta["val"] = target(*fx.node.map_arg(args, lambda source: source.meta["val"]))
    return made
