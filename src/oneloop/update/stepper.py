"""One optimiser step: the norm of the gradients, clipping, the learning rate, AdamW on fp32 weights."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from oneloop.core.protocols import Policy
from oneloop.parallel.ranks.held import Held
from oneloop.update.learning_rate import scale_learning_rate, scheduled
from oneloop.update.not_finite import NotFinite, check_weights


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
        """Optimiser state, fp32 master weights (bf16 training), update count; the same for any ranks."""
        state = self.optimizer.state_dict()
        state["state"] = {number: _each(self._held.whole, kept) for number, kept in state["state"].items()}
        apart = self.master is not self.parameters or self._held.dtype != torch.float32
        return {
            "optimizer": state,
            "master": [self._held.whole(weight) for weight in self.master] if apart else None,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`, to the bit."""
        optimizer = dict(state["optimizer"])
        ordered = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        optimizer["state"] = {
            number: _each(partial(self._held.share, ordered[int(number)]), kept)
            for number, kept in optimizer["state"].items()
        }
        self.optimizer.load_state_dict(optimizer)
        self.updates = state["updates"]
        if state["master"] is not None:
            with torch.no_grad():
                for weight, kept in zip(self.master, state["master"], strict=True):
                    weight.copy_(self._held.share(weight, kept))


def _each(change: Callable[[Tensor], Tensor], kept: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimiser keeps of one weight, its tensors of the weight's shape changed."""
    return {
        name: change(value) if isinstance(value, Tensor) and value.ndim else value
        for name, value in kept.items()
    }


def master_copies(parameters: list[Tensor]) -> list[Tensor]:
    """fp32 copies when the weights are kept in less; the weights themselves otherwise."""
    if all(weight.dtype == torch.float32 for weight in parameters):
        return parameters
    return [weight.detach().float().clone().requires_grad_() for weight in parameters]
