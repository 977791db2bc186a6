"""A language policy whose subnets are sampled and trained, each rollout by the one its budget of FLOPs buys.

    flops [n]   FLOPs a token of each rollout (a dress part draws them); without the column: the whole model

A subnet is a plain model whose weights are corners of the whole one's. It is sampled by an engine of its
own, learned from and compared with the same subnet of the reference, so that nothing else differs from an
ordinary policy; a micro-batch holds rollouts of one subnet. A token of a subnet counts in the meter as the
share of the weights it takes. Engines are made when they are first needed, and kept. Sampling does not stop
early here (`in_flight` above `groups` asks for more groups, and all are completed). Weights are not
sharded: on many ranks each has all of them (ddp).
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from oneloop.core.meter import Meter, PartMeter
from oneloop.core.rollouts import Rollouts
from oneloop.models.supernet.llama import LlamaSize
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.forward import CausalForward
from oneloop.sample.policies.tokens.here import TokenHere
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.sample.policies.tokens.reference import LanguageReference


class SubnetReference(LanguageReference):
    """The subnet of that `size` of the reference that `policy` keeps."""

    def __init__(self, policy: "ElasticPolicy", size: LlamaSize):
        self.of, self.size = policy, size
        self._whole: CausalForward | None = None

    @property
    def forward(self) -> CausalForward:
        """Its forward pass; raises ValueError when no reference is kept."""
        whole = self.of.reference
        if self._whole is not whole:  # another one was kept since
            model = self.of.subnets.view(self.size, whole.model)
            self._whole, self._kept = whole, whole.through(model, model.base_model)
            self._kept.meter = Meter()
        assert self._kept is not None
        return self._kept


class ElasticPolicy(LanguagePolicy):
    """The whole model, and a policy for each of its subnets that was asked for."""

    def __init__(self, options: Language):
        super().__init__(options)
        assert options.elastic is not None
        self.subnets = options.elastic.subnets(self.model)
        self._policies: dict[LlamaSize, LanguagePolicy] = {}

    def subnet(self, size: LlamaSize) -> LanguagePolicy:
        """The policy of one subnet under the present weights."""
        if size not in self._policies:
            self._policies[size] = self._made(size)
        found = self._policies[size]
        found.version, found.progress, found.law = self.version, self.progress, self.law
        found.engine.law = self.law
        return found

    def _made(self, size: LlamaSize) -> LanguagePolicy:
        made = LanguagePolicy.__new__(LanguagePolicy)
        vars(made).update(vars(self))  # tokenizer, prompts and options are shared
        if size == self.subnets.largest:
            return made
        made.model = self.subnets.view(size)
        made.meter = PartMeter(
            self.meter, self.subnets.costs[size] / self.subnets.costs[self.subnets.largest]
        )
        made.engine = made._engine()
        made.forward = self._learning(size, made)
        made._reference = SubnetReference(self, size)
        return made

    def _learning(self, size: LlamaSize, made: LanguagePolicy) -> CausalForward:
        """The forward pass of a subnet that gives the whole model's weights their gradient."""
        inner = made.model.base_model
        prefix = f"{made.model.base_model_prefix}."

        def backbone(**inputs: Any) -> Any:
            corners = self.subnets.corners(size)
            named = {name.removeprefix(prefix): weight for name, weight in corners.items()}
            return functional_call(inner, named, kwargs=inputs)

        forward = self.forward.through(made.model, backbone)
        forward.meter = made.meter
        return forward

    def sizes(self, rollouts: Rollouts) -> list[LlamaSize]:
        """The subnet of each rollout. Raises ValueError for a budget that buys none."""
        if "flops" not in rollouts:
            return [self.subnets.largest] * len(rollouts)
        budgets = rollouts["flops"].tolist()
        bought = {budget: self.subnets.within(budget) for budget in set(budgets)}
        return [bought[budget] for budget in budgets]

    def _by_subnet(self, rollouts: Rollouts) -> Iterator[tuple[LanguagePolicy, Tensor]]:
        """(policy, which rollouts are its own: bool [n]), the cheapest first."""
        sizes = self.sizes(rollouts)
        for size in self.subnets.costs:
            if size in sizes:
                yield self.subnet(size), torch.tensor([each == size for each in sizes])

    # sample

    def sample(self, asked: Rollouts) -> tuple[Rollouts, Rollouts]:
        """(finished, unfinished); all are finished, in the order in which they were asked."""
        pieces, rows = [], []
        for policy, mine in self._by_subnet(asked):
            finished, unfinished = policy.sample(asked.take(mine).put_facts(enough=None))
            pieces += [piece for piece in (finished, unfinished) if len(piece)]
            rows.append(mine.nonzero().squeeze(1))
        if not pieces:
            return super().sample(asked)
        joined = Rollouts.join(pieces)
        place = {number: row for row, number in enumerate(asked.id.tolist())}
        order = torch.tensor([place[number] for number in joined.id.tolist()]).argsort()
        joined = joined.take(order).put_facts(**asked.facts)
        return joined, joined.take(torch.zeros(0, dtype=torch.long))

    # learn

    def batches(self, rollouts: Rollouts, wanted: Tensor, budget: int) -> Iterator[Tensor]:
        """Pieces of whole rollouts of one subnet; `budget` counts tokens of whichever subnet."""
        for policy, mine in self._by_subnet(rollouts):
            if bool((own := wanted & mine[rollouts.owner]).any()):
                yield from policy.batches(rollouts, own, budget)

    def at(self, rollouts: Rollouts, actions: Tensor) -> TokenHere:
        """`actions` [a] under the present weights of their subnet, which is the same for all."""
        rows = rollouts.owner[actions].unique()
        sizes = set(self.sizes(rollouts.take(rows)))
        if len(sizes) > 1:
            raise ValueError(f"actions of several subnets at once: {', '.join(map(str, sorted(sizes)))}")
        return self.subnet(sizes.pop()).at(rollouts, actions)

    def entry(self, model: Any) -> Any:
        """Refuses to be sharded."""
        raise ValueError("learner.parallel: fsdp2 cannot shard an elastic policy; take ddp, which copies it")

    # weights, disk

    def updated(self) -> None:
        """Call after the weights have changed: counts a new version and refreshes what engines made of
        them."""
        super().updated()
        self._refresh()

    def _refresh(self) -> None:
        for policy in self._policies.values():
            policy.engine.refresh()

    def apart(self) -> "ElasticPolicy":
        """See `oneloop.core.protocols.Separable`: own model and engines."""
        made = super().apart()
        assert isinstance(made, ElasticPolicy)
        made.subnets = copy.copy(self.subnets)
        made.subnets.model, made._policies = made.model, {}
        return made

    def take(self, weights: Sequence[Tensor], version: int) -> None:
        """See `oneloop.core.protocols.Sampler`."""
        super().take(weights, version)
        self._refresh()

    def restore(self, folder: Path, state: dict[str, Any]) -> None:
        """Continues, to the bit, from the weights that `save` left in `folder`, and `state_dict`'s state."""
        super().restore(folder, state)
        self._refresh()
