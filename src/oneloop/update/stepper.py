"""One optimiser step: the norm of the gradients, clipping, the learning rate, AdamW on fp32 weights."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oneloop.core.protocols import Policy
from oneloop.parallel.ranks.held import Held
from oneloop.parallel.ranks.stored import read_parts
from oneloop.update.learning_rate import scale_learning_rate, scheduled
from oneloop.update.not_finite import NotFinite, check_weights

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps of a weight, in its shape."""
MASTER = "master"


class Stepper:
    """Moves the weights that `held` gives, as the learner's `options` say, for at most `steps` updates."""

    def __init__(self, policy: Policy, held: Held, options: Any, steps: int, says: Callable[[str], None]):
        self._policy, self._held, self.options, self.steps, self._says = policy, held, options, steps, says
        self.parameters = held.parameters
        self.master = master_copies(self.parameters)
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=options.learning_rate, betas=options.betas, fused=True
        )
        self.updates = 0

    def _groups(self) -> list[dict[str, Any]]:
        matrices = [weight for weight in self.master if weight.ndim > 1]
        rest = [weight for weight in self.master if weight.ndim <= 1]
        decay = self.options.weight_decay
        return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]

    def step(self, loss: float, learned_from: int) -> dict[str, float]:
        """One update of a step of this loss, which `learned_from` rollouts taught; what is measured of it.

        Raises NotFinite, with no weight changed, for gradients that are not finite, and for weights that the
        update left so.
        """
        gradients = self.gradients()
        norm = self._held.norm(gradients)
        options = self.options
        shape = scheduled(options.schedule, self.updates, options.warmup, self.steps)
        rate = options.learning_rate * shape * self._scale(learned_from)
        if not math.isfinite(norm):
            self.clear()
            raise NotFinite(
                f"the gradient norm is {norm} although every loss is finite; no weight was changed"
            )
        if norm > 0:
            limit = options.max_grad_norm
            if limit is not None and norm > limit:
                torch._foreach_mul_(gradients, limit / norm)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            if self.master is not self.parameters:
                with torch.no_grad():
                    torch._foreach_copy_(self.parameters, self.master)
            self._held.publish()
            check_weights(self._policy.model, rate)
        self.updates += 1
        self.clear()
        return {"loss": loss, "grad_norm": norm, "learning_rate": rate}

    def gradients(self) -> list[Tensor]:
        """Gradients of the weights the optimiser moves, always fp32: norms are never computed in bf16."""
        if self.master is not self.parameters:
            for master, weight in zip(self.master, self.parameters, strict=True):
                master.grad = weight.grad.float() if weight.grad is not None else None
        self._held.add_up(self.master)
        return [weight.grad for weight in self.master if weight.grad is not None]

    def clear(self) -> None:
        """Forgets all gradients."""
        for weight in [*self.parameters, *self.master]:
            weight.grad = None

    def _scale(self, learned_from: int) -> float:
        """Factor of the learning rate for a step on so many rollouts; said once, at the first step."""
        options = self.options
        if options.base_batch is None or learned_from == 0:
            return 1.0
        factor = scale_learning_rate(1.0, options.base_batch, learned_from, options.scaling)
        if self.updates == 0:
            self._says(
                f"learning rate {options.learning_rate:g} x {options.scaling} scaling from "
                f"{options.base_batch} to {learned_from} rollouts a step = "
                f"{options.learning_rate * factor:.3g} (learner.base_batch)"
            )
        return factor

    def state_dict(self) -> dict[str, Any]:
        """Options of the optimiser, update count, and as `tensors` its moments and, where weights are kept in
        less than fp32, their fp32 masters: by name, of many ranks this one's shares."""
        names = self._ordered()
        tensors: dict[str, Tensor] = {}
        steps: dict[str, dict[str, Any]] = {}
        for number, kept in self.optimizer.state_dict()["state"].items():
            whole = {kind: value for kind, value in kept.items() if _is_tensor(value)}
            tensors |= {f"{names[number]}/{kind}": value for kind, value in whole.items()}
            steps[names[number]] = {kind: value for kind, value in kept.items() if kind not in whole}
        if self.master is not self.parameters or self._held.dtype != torch.float32:
            tensors |= {f"{name}/{MASTER}": w for name, w in zip(self._held.names, self.master, strict=True)}
        groups = [{**group, "params": []} for group in self.optimizer.state_dict()["param_groups"]]
        return {"groups": groups, "steps": steps, "tensors": tensors, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`, to the bit; `tensors` may be the Path of what ranks wrote."""
        weights = dict(zip(self._held.names, self.master, strict=True))
        kept = {f"{name}/{kind}": weights[name] for name in state["steps"] for kind in MOMENTS}
        read = {name: torch.empty_like(weight, requires_grad=False) for name, weight in kept.items()}
        if self.master is not self.parameters or self._held.dtype != torch.float32:
            read |= {f"{name}/{MASTER}": weight.detach() for name, weight in weights.items()}
        stored = state["tensors"]
        if isinstance(stored, Path):
            read_parts(stored, read)
        else:
            for name, tensor in read.items():
                tensor.copy_(self._held.share(tensor, stored[name]))
        names = self._ordered()
        optimizer = self.optimizer.state_dict()
        for group, saved in zip(optimizer["param_groups"], state["groups"], strict=True):
            group |= {name: value for name, value in saved.items() if name != "params"}
        optimizer["state"] = {
            number: {**state["steps"][name], **{kind: read[f"{name}/{kind}"] for kind in MOMENTS}}
            for number, name in enumerate(names)
            if name in state["steps"]
        }
        self.optimizer.load_state_dict(optimizer)
        self.updates = state["updates"]

    def _ordered(self) -> list[str]:
        """Names of the weights in the order in which the optimiser counts them."""
        named = {id(weight): name for name, weight in zip(self._held.names, self.master, strict=True)}
        return [named[id(weight)] for group in self.optimizer.param_groups for weight in group["params"]]


def _is_tensor(value: Any) -> bool:
    """Whether `value` is of a weight's shape; AdamW counts its steps in tensors without one."""
    return isinstance(value, Tensor) and value.ndim > 0


def master_copies(parameters: list[Tensor]) -> list[Tensor]:
    """fp32 copies when the weights are kept in less; the weights themselves otherwise."""
    if all(weight.dtype == torch.float32 for weight in parameters):
        return parameters
    return [weight.detach().float().clone().requires_grad_() for weight in parameters]
