"""The forward of a layer whose weights are DTensors; its inputs are plain tensors, whole on tensor axes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.nn import functional as F


@dataclass(frozen=True)
class Axes:
    """A mesh, and for each of its axes whether ranks pass over different pieces there."""

    mesh: DeviceMesh
    data: tuple[bool, ...]

    def whole(self, weight: DTensor) -> Tensor:
        """All of `weight`, as a plain tensor; its gradient is summed over data axes."""
        here = _moved(weight, [Replicate()] * self.mesh.ndim)
        return here.to_local(grad_placements=[Partial() if cut else Replicate() for cut in self.data])

    def cut_for_product(self, weight: DTensor) -> bool:
        """Whether ranks of a tensor axis hold parts of `weight`."""
        pairs = zip(weight.placements, self.data, strict=True)
        return any(isinstance(place, Shard) and not cut for place, cut in pairs)

    def for_product(self, weight: DTensor) -> DTensor:
        """`weight` gathered over data axes alone."""
        pairs = zip(weight.placements, self.data, strict=True)
        return _moved(weight, [Replicate() if cut else place for place, cut in pairs])

    def product(self, x: Tensor, weight: DTensor) -> Tensor:
        """x W^T, whole on tensor axes, each of whose ranks has a part of W."""
        lies = [Shard(0) if cut else Replicate() for cut in self.data]
        made: Any = F.linear(DTensor.from_local(x, self.mesh, lies, run_check=False), weight)
        whole: Tensor = made.redistribute(self.mesh, lies).to_local()
        return whole


class Placed:
    """`forward` of `module`, its weights computed with in `dtype`."""

    def __init__(self, module: nn.Module, axes: Axes, dtype: torch.dtype):
        self.module, self.axes, self.dtype = module, axes, dtype
        self._forward = module.forward
        weight = module._parameters.get("weight")
        # the product is this layer's whole forward, but for a bias
        self._multiplies = (
            type(module) is nn.Linear and isinstance(weight, DTensor) and axes.cut_for_product(weight)
        )
        self.gathered: dict[str, Any] | None = None
        """Weights of the present pass, where they are gathered once."""

    def gather(self) -> None:
        """Gathers the weights for all calls until the next time."""
        self.gathered = self._weights()

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The output of the layer."""
        weights = self.gathered or self._weights()
        if self._multiplies:
            (x,) = inputs
            made = self.axes.product(x, weights["weight"])
            return made if weights.get("bias") is None else made + weights["bias"]
        own = self.module._parameters
        before = dict(own)
        try:
            own.update(weights)
            return self._forward(*inputs, **named)
        finally:
            own.update(before)

    def _weights(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, weight in self.module._parameters.items():
            if isinstance(weight, DTensor):
                cut = self._multiplies and name == "weight"
                found[name] = (self.axes.for_product if cut else self.axes.whole)(weight).to(self.dtype)
        return found


def _moved(weight: DTensor, where: list[Placement]) -> DTensor:
    """`weight` at other placements; one that lies there is taken as it is, so that its gradient waits."""
    return weight if list(weight.placements) == where else weight.redistribute(placements=where)
