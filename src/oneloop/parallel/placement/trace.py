"""The joint graph of one training step, forward and backward, traced without real tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.distributed._tools.mod_tracker import ModTracker
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from oneloop.parallel.placement.fault import PlacementError
from oneloop.parallel.placement.packed import Packed, unpacked

aten = torch.ops.aten
MEAN, SUM = 1, 2
VIEWS = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.t.default,
    aten.transpose.int,
    aten.permute.default,
    aten.expand.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.squeeze.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.unbind.int,
    aten.detach.default,
    aten.alias.default,
}


@dataclass(frozen=True, kw_only=True)
class StepGraph:
    """`loss, gradients = step(parameters, buffers, inputs)` as operations on whole tensors.

    The graph's placeholders are the parameters, the buffers and the inputs, in this order; its output is the
    loss and a gradient per parameter (None where the loss does not depend on it).
    """

    graph: fx.Graph
    parameters: tuple[str, ...]
    """Fully qualified names; of tied parameters the first."""
    buffers: tuple[str, ...]
    inputs: tuple[str, ...]
    """Names of the tensors among the arguments of the model."""
    tied: Mapping[str, str]
    """{other name of a tied parameter: its name in `parameters`}."""
    packed: Packed
    """Axes that the step splits evenly."""


def trace(
    model: nn.Module,
    inputs: Mapping[str, Any],
    loss: Callable[[Any], torch.Tensor] | None = None,
) -> StepGraph:
    """Trace `loss(model(**inputs))` and its gradients; `loss` defaults to the output's field `loss`.

    Only shapes and dtypes of the model and of `inputs` matter, so both may be on the meta device. The model
    is traced in eval mode: without dropout.

    Raises PlacementError where the model's control flow depends on values, and where it changes a tensor in
    place that it was given.
    """
    parameters, tied = _untied(model)
    buffers = dict(model.named_buffers())
    tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    constants = {name: value for name, value in inputs.items() if name not in tensors}
    frozen = [name for name, p in parameters.items() if not p.dtype.is_floating_point]
    names = [*parameters, *buffers]

    def step(*flat: torch.Tensor) -> list[torch.Tensor | None]:
        state = dict(zip(names, flat, strict=False))
        given = dict(zip(tensors, flat[len(names) :], strict=True))
        learned = [state[name].detach().requires_grad_() for name in parameters if name not in frozen]
        state |= dict(zip((name for name in parameters if name not in frozen), learned, strict=True))
        with _Tags(names) as tags:
            out = functional_call(model, state, (), {**given, **constants})
            value = _loss_of(out) if loss is None else loss(out)
            tags.phase = "backward"
            gradients = iter(torch.autograd.grad(value, learned, allow_unused=True))
        return [value, *(None if name in frozen else next(gradients) for name in parameters)]

    graph = _traced(model, step, [*parameters.values(), *buffers.values(), *tensors.values()])
    sources = {"parameters": tuple(parameters), "buffers": tuple(buffers), "inputs": tuple(tensors)}
    return StepGraph(graph=graph, tied=tied, packed=unpacked(graph), **sources)


def _untied(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    first: dict[int, str] = {}
    tied = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            tied[name] = first[id(parameter)]
        else:
            first[id(parameter)] = name
    return {name: p.detach() for name, p in model.named_parameters()}, tied


def _loss_of(out: Any) -> torch.Tensor:
    value = out if isinstance(out, torch.Tensor) else getattr(out, "loss", None)
    if not isinstance(value, torch.Tensor) or value.ndim:
        raise PlacementError(
            "the model must return its loss, as a scalar or as a field `loss` (give it labels), or pass "
            "`loss`"
        )
    return value


def _traced(model: nn.Module, step: Callable[..., Any], tensors: list[torch.Tensor]) -> fx.Graph:
    fake = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta") for t in tensors]
    stand_in = torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
    with stand_in:
        given = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="cpu") for t in fake]
    training = model.training
    model.eval()
    try:
        with stand_in, sdpa_kernel(SDPBackend.MATH):
            made = make_fx(step, decomposition_table=SPLIT, _allow_non_fake_inputs=True)(*given)
    except PlacementError:
        raise
    except Exception as error:
        raise PlacementError(
            f"{type(model).__name__} cannot be traced with fixed shapes ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}); control flow that depends on values, "
            f"such as "
            "routing of tokens to experts one expert at a time, cannot be planned"
        ) from error
    finally:
        model.train(training)
    made.graph.eliminate_dead_code()
    _without_mutation(made.graph)
    return made.graph


def _without_mutation(graph: fx.Graph) -> None:
    """Replace operations that write into a tensor made before them by those that make a new one.

    Raises PlacementError where the tensor may be seen elsewhere: an input, a parameter, or a view.
    """
    for node in graph.nodes:
        target: Any = node.target
        if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
            continue
        if not target._schema.is_mutable:
            continue
        written = node.args[0]
        name = target._opname.removesuffix("_")
        twin = getattr(getattr(aten, name, None), target._overloadname, None)
        fresh = isinstance(written, fx.Node) and written.op == "call_function" and written.target not in VIEWS
        seen = fresh and any(user.target in VIEWS for user in written.users if user is not node)
        if twin is None or not fresh or seen:
            raise PlacementError(
                f"{node.meta.get('module') or 'the model'} changes a tensor in place ({target}) that may be "
                "seen elsewhere; plans are made for models that do not"
            )
        written.replace_all_uses_with(node, delete_user_cb=lambda user, node=node: _later(user, node))
        node.target = twin


def _later(user: fx.Node, node: fx.Node) -> bool:
    return user is not node and node < user


class _Tags(TorchDispatchMode):
    """Writes on every node the module that made it and whether it is of the forward or the backward pass.

    Nodes that were there before are of the module that owns their parameter or buffer; `names`: those of the
    first placeholders.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names
        self.phase = "forward"
        self.tracker = ModTracker()
        self.last: fx.Node | None = None
        self.entered: list[str] = []
        """Names of modules in progress, in the order in which they began."""

    def __enter__(self) -> "_Tags":
        mode = get_proxy_mode()
        assert mode is not None
        owners: dict[fx.Node, str] = {}
        for node, name in zip(mode.tracer.graph.nodes, self.names, strict=False):
            owners[node] = name.rpartition(".")[0]
        for node in mode.tracer.graph.nodes:
            if node.op == "call_function":
                node.meta |= {"module": owners.get(node.args[0], ""), "phase": self.phase}
            self.last = node
        self.tracker.__enter__()
        entered: _Tags = super().__enter__()
        return entered

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.tracker.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        mode = get_proxy_mode()
        assert mode is not None
        module = self._module()
        node = next(reversed(mode.tracer.graph.nodes))
        while node is not self.last and "phase" not in node.meta and node.op != "root":
            node.meta |= {"module": module.partition(".")[2], "phase": self.phase}
            node = node.prev
        return out

    def _module(self) -> str:
        """The innermost module in progress."""
        # The tracker misses the end of modules that are called with keywords alone, in the backward pass: so
        # it is the one that began last, or what lies within it.
        now = self.tracker.parents - {"Global"}
        self.entered = [name for name in self.entered if name in now]
        self.entered += sorted(now.difference(self.entered), key=lambda name: (len(name), name))
        if not self.entered:
            return ""
        last = self.entered[-1]
        return max((name for name in now if f"{name}.".startswith(f"{last}.")), key=len)


def _nll_loss_forward(
    x: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, reduction: int, ignore: int
) -> Any:
    if reduction != MEAN:
        return NotImplemented
    total, count = aten.nll_loss_forward(x, target, weight, SUM, ignore)
    return total / count, count


def _nll_loss_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: int,
    ignore: int,
    count: torch.Tensor,
) -> Any:
    if reduction != MEAN:
        return NotImplemented
    return aten.nll_loss_backward(grad / count, x, target, weight, SUM, ignore, count)


def _addmm(
    bias: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *, beta: float = 1, alpha: float = 1
) -> Any:
    if beta != 1 or alpha != 1:
        return NotImplemented
    return aten.mm(x, weight) + bias


# DTensor averages the means of the ranks, which is wrong where the ranks ignore different numbers of labels;
# a sum over a count is right for any split. A bias apart from its product can be added once, after partial
# sums of the product are reduced; inside the product it would be added by every rank.
SPLIT: dict[Any, Callable[..., Any]] = {
    aten.addmm.default: _addmm,
    aten.nll_loss_forward.default: _nll_loss_forward,
    aten.nll_loss_backward.default: _nll_loss_backward,
    aten.nll_loss2d_forward.default: _nll_loss_forward,
    aten.nll_loss2d_backward.default: _nll_loss_backward,
}
