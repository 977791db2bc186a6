"""The learner: objectives in, one or more optimiser steps out. It owns every denominator.

An objective returns one loss per action; the learner weighs each action once over the whole optimiser step
(`averaging.py`), so that cutting a batch into micro-batches changes nothing but memory. An action for which
no objective has a gradient (its advantage is 0, say) is not forwarded, though denominators count it. A step
without signal (all gradients zero) changes nothing: no momentum, no weight decay.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.protocols import Here, Objective, Policy
from oneloop.core.rollouts import Rollouts
from oneloop.update.averaging import action_weights, averaging
from oneloop.update.learning_rate import Scaling, Schedule, scale_learning_rate, scheduled
from oneloop.update.not_finite import NotFinite, check_finite, check_weights
from oneloop.update.readings import Readings, Seen

CLIPS = ("clip_low", "clip_high")


@part()
class Learning:
    """Options of the learner: optimiser, schedule, minibatches, micro-batches."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Peak learning rate."""
    base_batch: Annotated[int, Field(ge=1)] | None = None
    """Rollouts per optimiser step for which `learning_rate` was chosen; it is rescaled to the rollouts that
    each step learns from. None: used as it is."""
    scaling: Scaling = "sqrt"
    """How the learning rate grows with the batch where `base_batch` is given: sqrt (Adam; BroRL) or
    linear."""
    schedule: Schedule = "constant"
    """Learning rate after the warm-up: constant, or linear or cosine to zero at the last update."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Updates over which the learning rate rises from zero; 0: none."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """AdamW betas: decay rates of the two moments."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW weight decay, on matrices only; 0: none."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients of a larger norm are scaled down to it; None: no clipping."""
    tokens_per_micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Tokens forwarded at a time, padding included; smaller = less memory, same result.
    None: 4096 on a CPU, where layers that stay in its cache are faster, 16384 elsewhere."""
    minibatches: Annotated[int, Field(ge=1)] = 1
    """Optimiser steps a batch is split into, by whole groups."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over each batch."""

    def micro_batch(self, device: torch.device) -> int:
        """Tokens forwarded at a time on `device`."""
        return self.tokens_per_micro_batch or (4096 if device.type == "cpu" else 16384)


class Learner:
    """Optimises `policy` on `objectives`; called with a batch, returns it with what objectives report."""

    def __init__(self, policy: Policy, objectives: Sequence[Objective], options: Learning, steps: int):
        self.policy, self.objectives, self.options = policy, list(objectives), options
        self.steps = steps * options.minibatches * options.epochs
        self.parameters = [weight for weight in policy.model.parameters() if weight.requires_grad]
        self.master = master_copies(self.parameters)
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=options.learning_rate, betas=options.betas, fused=True
        )
        self.updates, self.budget = 0, options.micro_batch(self.parameters[0].device)
        sides = [getattr(term, side) for term in objectives for side in CLIPS if hasattr(term, side)]
        self.clip = {"clip_range": min(sides)} if sides else {}
        self.metrics: dict[str, float] = {}
        self.notices: list[str] = []

    def _groups(self) -> list[dict[str, Any]]:
        matrices = [weight for weight in self.master if weight.ndim > 1]
        rest = [weight for weight in self.master if weight.ndim <= 1]
        decay = self.options.weight_decay
        return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Learns from `rollouts`; returns them with the objectives' readings as action columns.

        Raises NotFinite when a loss that counts is not finite, before the step changes any weight, or when
        the step made a weight infinite.
        """
        self.readings = Readings(len(rollouts.actions))
        for epoch in range(self.options.epochs):
            for index, (rows, actions) in enumerate(self._minibatches(rollouts)):
                self._update(rows, actions, fresh=epoch == 0 and index == 0)
        idle = (rollouts.actions.share > 0) & ~self.wanted(rollouts)
        self.metrics = {**self.readings.means(), **self.clip, "skipped_tokens": float(idle.sum())}
        self.policy.updated()
        return rollouts.put_actions(self.readings.columns())

    def wanted(self, rollouts: Rollouts) -> Tensor:
        """bool [N], the actions that are forwarded: an objective has a gradient there, or asks for them."""
        wanted = torch.zeros(len(rollouts.actions), dtype=torch.bool)
        for objective in self.objectives:
            mine = action_weights(objective, rollouts) != 0
            if hasattr(objective, "teaches"):
                mine &= objective.teaches(rollouts)
            wanted |= mine
        if any(averaging(objective).whole for objective in self.objectives):
            rows = torch.zeros(len(rollouts), dtype=torch.bool)
            rows[rollouts.owner[wanted]] = True
            wanted = rows[rollouts.owner]
        return wanted

    def _minibatches(self, rollouts: Rollouts) -> Iterator[tuple[Rollouts, Tensor]]:
        """(whole groups, their actions' places in the batch): each action in exactly one."""
        if self.options.minibatches == 1:
            yield rollouts, torch.arange(len(rollouts.actions))
            return
        label = segments.labels(rollouts.group) % self.options.minibatches
        for index in range(self.options.minibatches):
            rows = (label == index).nonzero().squeeze(1)
            if len(rows):  # the last batch of a dry source may have fewer groups than there are minibatches
                yield rollouts.take(rows), rollouts.structure.take(rows)[0]

    def _update(self, rollouts: Rollouts, places: Tensor, fresh: bool) -> None:
        weight = [action_weights(objective, rollouts) for objective in self.objectives]
        wanted = self.wanted(rollouts)
        done = None
        while done is None:
            self._clear()  # of a pass that ran out of memory, or met a loss that is not finite
            try:
                done = self._accumulate(rollouts, wanted, weight, fresh)
            except torch.OutOfMemoryError:
                if self.budget == 1:
                    raise
            if done is None:  # outside of `except`, which holds on to the tensors of the failed pass
                self._halve_budget()
        loss, seen = done
        self.readings.add(seen, places)
        kept = (rollouts.actions.share > 0).double()
        self._step(loss, int((rollouts.gather(kept, "sum") > 0).sum()))

    def _halve_budget(self) -> None:
        self.budget //= 2
        torch.cuda.empty_cache()
        self.notices.append(
            f"out of memory: micro-batches now forward {self.budget} tokens "
            f"(learner.tokens_per_micro_batch: {self.options.micro_batch(self.parameters[0].device)})"
        )

    def _accumulate(
        self, rollouts: Rollouts, wanted: Tensor, weight: list[Tensor], fresh: bool
    ) -> tuple[float, list[Seen]]:
        """Adds the gradients of one optimiser step; returns its loss and what was observed."""
        total, seen = 0.0, list[Seen]()
        for actions in self.policy.batches(rollouts, wanted, self.budget):
            here = self.policy.at(rollouts, actions)
            terms: list[Tensor] = []
            values: dict[str, Tensor] = {}
            for objective, w in zip(self.objectives, weight, strict=True):
                losses, readings = objective(here, rollouts, actions)
                counted = w[actions].to(losses)
                check_finite(losses, counted, objective, rollouts, actions)
                terms.append(torch.where(counted != 0, losses * counted, 0.0).sum())
                values |= readings
            loss = torch.stack(terms).sum()
            loss.backward()
            total += float(loss.detach())
            values |= self._observe(here, rollouts, actions, fresh)
            seen.append((actions, {name: value.detach().float().cpu() for name, value in values.items()}))
        return total, seen

    @torch.no_grad()
    def _observe(self, here: Here, rollouts: Rollouts, actions: Tensor, fresh: bool) -> dict[str, Tensor]:
        """Readings of every run: entropy and, while the weights are the sampler's, the log-prob gap to it."""
        values = {"entropy": here.entropy.detach()}
        if fresh:
            ours = rollouts.actions.version[actions] == self.policy.version
            ours &= ~rollouts.actions.logprob[actions].isnan()  # an ODE's steps have none
            if "seeded" in rollouts:  # may be trained on another prompt than it was sampled from
                ours &= rollouts["seeded"][rollouts.owner[actions]] == 0
            gap = torch.full((len(actions),), float("nan"))
            if bool(ours.any()):  # demonstrations are nobody's sample: no forward for their sake
                gap = (here.logprob.detach().float().cpu() - rollouts.actions.logprob[actions]).abs()
            values["logprob_gap"] = torch.where(ours, gap, float("nan"))
        return values

    def _step(self, loss: float, learned_from: int) -> None:
        gradients = self._gradients()
        norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        options = self.options
        shape = scheduled(options.schedule, self.updates, options.warmup, self.steps)
        rate = options.learning_rate * shape * self._scale(learned_from)
        self.readings.step(loss=loss, grad_norm=norm, learning_rate=rate)
        if not math.isfinite(norm):
            self._clear()
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
            check_weights(self.policy.model, rate)
        self.updates += 1
        self._clear()

    def _gradients(self) -> list[Tensor]:
        """Gradients of the weights the optimiser moves, always fp32: norms are never computed in bf16."""
        if self.master is not self.parameters:
            for master, weight in zip(self.master, self.parameters, strict=True):
                master.grad = weight.grad.float() if weight.grad is not None else None
        return [weight.grad for weight in self.master if weight.grad is not None]

    def _clear(self) -> None:
        for weight in [*self.parameters, *self.master]:
            weight.grad = None

    def _scale(self, learned_from: int) -> float:
        """Factor of the learning rate for a step on so many rollouts; said once, at the first step."""
        options = self.options
        if options.base_batch is None or learned_from == 0:
            return 1.0
        factor = scale_learning_rate(1.0, options.base_batch, learned_from, options.scaling)
        if self.updates == 0:
            self.notices.append(
                f"learning rate {options.learning_rate:g} x {options.scaling} scaling from "
                f"{options.base_batch} to {learned_from} rollouts a step = "
                f"{options.learning_rate * factor:.3g} (learner.base_batch)"
            )
        return factor

    def state_dict(self) -> dict[str, Any]:
        """Optimiser state, fp32 master weights (bf16 training), update count, micro-batch budget."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "master": None if self.master is self.parameters else list(self.master),
            "updates": self.updates,
            "budget": self.budget,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`, to the bit."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates, self.budget = state["updates"], state["budget"]
        if state["master"] is not None:
            with torch.no_grad():
                torch._foreach_copy_(self.master, state["master"])


def master_copies(parameters: list[Tensor]) -> list[Tensor]:
    """fp32 copies when the weights are kept in less; the weights themselves otherwise."""
    if all(weight.dtype == torch.float32 for weight in parameters):
        return parameters
    return [weight.detach().float().clone().requires_grad_() for weight in parameters]
