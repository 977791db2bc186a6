"""The learner: objectives in, one or more optimiser steps out. It owns every denominator.

An objective returns one loss per action; the learner weighs each action once over the whole optimiser step
(`averaging.py`), so that cutting a batch into micro-batches changes nothing but memory. An action for which
no objective has a gradient (its advantage is 0, say) is not forwarded, though denominators count it. A step
without signal (all gradients zero) changes nothing: no momentum, no weight decay.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import part
from oneloop.core.protocols import Here, Objective, ObjectiveDefaults, Policy, Teaching, trait
from oneloop.core.rollouts import Rollouts
from oneloop.parallel.ranks.held import Parallel, hold
from oneloop.parallel.ranks.passes import Passes
from oneloop.parallel.ranks.shares import digest
from oneloop.parallel.ranks.world import Alone, World
from oneloop.update.averaging import action_weights, averaging
from oneloop.update.learning_rate import Scaling, Schedule
from oneloop.update.not_finite import NotFinite, check_finite
from oneloop.update.readings import Readings
from oneloop.update.stepper import Stepper


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
    None: 16384, but on a CPU what its cache holds: 4096, from a million parameters 2048, from 32 million
    1024."""
    minibatches: Annotated[int, Field(ge=1)] = 1
    """Optimiser steps a batch is split into, by whole groups."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over each batch."""
    parallel: Parallel | None = None
    """How weights lie on many ranks: fsdp2 (each holds a share), ddp (each holds all of them), plan (as the
    planner places them). None: fsdp2 where the policy can be cut, else ddp; one rank needs none of them."""
    plan: str | None = None
    """File that `oneloop plan --json` wrote, for parallel plan. None: solved for when the run starts."""
    mesh: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Ranks along each axis of the mesh of a plan that is solved for. None: all on one axis."""

    @model_validator(mode="after")
    def _planned(self) -> Self:
        given = [name for name in ("plan", "mesh") if getattr(self, name) is not None]
        if given and self.parallel != "plan":
            raise ValueError(
                f"{' and '.join(given)}: only with parallel: plan, got parallel: {self.parallel}"
            )
        if len(given) == 2:
            raise ValueError("plan and mesh: a plan in a file has its own mesh; give one of them")
        return self

    def micro_batch(self, device: torch.device, parameters: int) -> int:
        """Tokens forwarded at a time on `device` through a model of so many parameters."""
        if self.tokens_per_micro_batch is not None:
            return self.tokens_per_micro_batch
        if device.type != "cpu":
            return 16384
        return 4096 if parameters < 2**20 else 2048 if parameters < 2**25 else 1024


class Learner:
    """Optimises `policy` on `objectives`; called with a batch, returns it with what objectives report."""

    def __init__(
        self,
        policy: Policy,
        objectives: Sequence[Objective],
        options: Learning,
        steps: int,
        world: World | None = None,
    ):
        self.policy, self.objectives, self.options = policy, list(objectives), options
        self.steps = steps * options.minibatches * options.epochs
        self.world: World = world or Alone()
        self.most = options.micro_batch(
            next(iter(policy.model.parameters())).device,
            sum(weight.numel() for weight in policy.model.parameters()),
        )
        self.held = hold(policy, options, self.most, self.world)
        self.notices: list[str] = []
        self.stepper = Stepper(policy, self.held, options, self.steps, self.notices.append)
        self.parameters, self.master = self.stepper.parameters, self.stepper.master
        self.optimizer = self.stepper.optimizer
        self.budget = self.most
        ranges = [trait(term, ObjectiveDefaults, "clip_range") for term in objectives]
        clipped = [each for each in ranges if each is not None]
        self.clip = {"clip_range": min(clipped)} if clipped else {}
        self.metrics: dict[str, float] = {}

    @property
    def updates(self) -> int:
        """Optimiser steps made."""
        return self.stepper.updates

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """Learns from `rollouts`; returns them with the objectives' readings as action columns.

        Raises NotFinite when a loss that counts is not finite, before the step changes any weight, or when
        the step made a weight infinite.
        """
        if self.world.size > 1:
            self.world.agree("the batch to learn from", digest(rollouts))
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
            if isinstance(objective, Teaching):
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
            self.stepper.clear()  # of a pass that ran out of memory, or met a loss that is not finite
            passes = Passes(self.world, self.held, self.policy)
            try:
                self._accumulate(passes, rollouts, wanted, weight, fresh)
            except torch.OutOfMemoryError:
                passes.ran_out(self.budget)
            done = passes.all(self.budget)
            if done is None:  # outside of `except`, which holds on to the tensors of the failed pass
                self._halve_budget()
        self.readings.add([(passed.actions, passed.values) for passed in done], places)
        kept = (rollouts.actions.share > 0).double()
        loss = sum(passed.loss for passed in done)
        learned_from = int((rollouts.gather(kept, "sum") > 0).sum())
        self.readings.step(**self.stepper.step(loss, learned_from))

    def _halve_budget(self) -> None:
        self.budget //= 2
        torch.cuda.empty_cache()
        self.notices.append(
            f"out of memory: micro-batches now forward {self.budget} tokens "
            f"(learner.tokens_per_micro_batch: {self.most})"
        )

    def _accumulate(
        self, passes: Passes, rollouts: Rollouts, wanted: Tensor, weight: list[Tensor], fresh: bool
    ) -> None:
        """Adds the gradients of one optimiser step; `passes` notes its loss and what was observed."""
        pieces = partial(self.policy.batches, rollouts, wanted)
        with self.held.learning():
            for actions in passes.mine(pieces, self.budget, rollouts):
                here = self.policy.at(rollouts, actions)
                with passes.may_run_out(here, self.budget):
                    self._pass(passes, here, rollouts, actions, weight, fresh)

    def _pass(
        self,
        passes: Passes,
        here: Here,
        rollouts: Rollouts,
        actions: Tensor,
        weight: list[Tensor],
        fresh: bool,
    ) -> None:
        """Forward and backward over `actions` [a]."""
        terms: list[Tensor] = []
        values: dict[str, Tensor] = {}
        for objective, w in zip(self.objectives, weight, strict=True):
            losses, readings = objective(here, rollouts, actions)
            counted = w[actions].to(losses)
            with passes.may_fail(NotFinite):
                check_finite(losses, counted, objective, rollouts, actions)
            terms.append(torch.where(counted != 0, losses * counted, 0.0).sum())
            values |= readings
        loss = torch.stack(terms).sum()
        loss.backward()
        values |= self._observe(here, rollouts, actions, fresh)
        seen = {name: value.detach().float().cpu() for name, value in values.items()}
        passes.add(float(loss.detach()), actions, seen)

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

    def state_dict(self) -> dict[str, Any]:
        """Optimiser state, fp32 master weights (bf16 training), update count, micro-batch budget."""
        return {**self.stepper.state_dict(), "budget": self.budget}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`, to the bit."""
        self.stepper.load_state_dict(state)
        self.budget = state["budget"]
