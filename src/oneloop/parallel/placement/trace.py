"""The joint graph of one training step, forward and backward, traced without real tensors."""

from collections.abc import Callable, Mapping
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

aten = torch.ops.aten
MEAN, SUM = 1, 2


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
    """Other names of tied parameters -> the name in `parameters`."""


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
        with _Tags() as tags:
            out = functional_call(model, state, (), {**given, **constants})
            value = _loss_of(out) if loss is None else loss(out)
            tags.phase = "backward"
            gradients = iter(torch.autograd.grad(value, learned, allow_unused=True))
        return [value, *(None if name in frozen else next(gradients) for name in parameters)]

    graph = _traced(model, step, [*parameters.values(), *buffers.values(), *tensors.values()])
    return StepGraph(
        graph=graph,
        parameters=tuple(parameters),
        buffers=tuple(buffers),
        inputs=tuple(tensors),
        tied=tied,
    )


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
            made = make_fx(step, decomposition_table=LOSSES, _allow_non_fake_inputs=True)(*given)
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
    _refuse_mutation(made.graph)
    return made.graph


def _refuse_mutation(graph: fx.Graph) -> None:
    for node in graph.nodes:
        if (
            node.op == "call_function"
            and isinstance(node.target, torch._ops.OpOverload)
            and node.target._schema.is_mutable
        ):
            raise PlacementError(
                f"{node.meta.get('module') or 'the model'} changes a tensor in place ({node.target}); "
                f"plans are "
                "made for models that do not"
            )


class _Tags(TorchDispatchMode):
    """Writes on every node the module that made it and whether it is of the forward or the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "forward"
        self.tracker = ModTracker()
        self.last: fx.Node | None = None

    def __enter__(self) -> "_Tags":
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
        module = max(self.tracker.parents - {"Global"}, key=len, default="")
        node = next(reversed(mode.tracer.graph.nodes))
        while node is not self.last and "phase" not in node.meta and node.op != "root":
            node.meta |= {"module": module.partition(".")[2], "phase": self.phase}
            node = node.prev
        return out


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


# DTensor averages the means of the ranks, which is wrong where the ranks ignore different numbers of labels;
# a sum over a count is right for any split.
LOSSES: dict[Any, Callable[..., Any]] = {
    aten.nll_loss_forward.default: _nll_loss_forward,
    aten.nll_loss_backward.default: _nll_loss_backward,
    aten.nll_loss2d_forward.default: _nll_loss_forward,
    aten.nll_loss2d_backward.default: _nll_loss_backward,
}
