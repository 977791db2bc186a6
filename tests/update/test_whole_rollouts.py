"""Sequence ratios need their columns on every action of a rollout, whatever select left out.

Every combination of ratio, correction, share pattern, credit and micro-batch, against the plain sentence.
"""

from itertools import product

import pytest
import torch

from oneloop.core import segments
from oneloop.core.declared import declared
from oneloop.core.rollouts import Rollouts
from oneloop.loop import annotate, reached
from oneloop.update.averaging import action_weights
from oneloop.update.objective.entropy_bonus import EntropyBonus
from oneloop.update.objective.kl import Kl
from oneloop.update.objective.policy_gradient import PolicyGradient, clipped_surrogate
from tests.support.rounding import room
from tests.update.small_policy import SmallPolicy, batch, made, weights_of

CORRECTIONS = {
    "plain": {},
    "importance_cap": {"importance_cap": 1.1},
    "proximal": {"old": "proximal"},
    "both": {"importance_cap": 1.1, "old": "proximal"},
}
SHARES = (
    "all",
    "every third left out",
    "first tokens left out",
    "last tokens left out",
    "a rollout left out",
)
CREDITS = ("rollout", "token", "a group without signal")
COMBINATIONS = list(product(("token", "sequence"), CORRECTIONS, SHARES, CREDITS))


def prepared(share: str, credit: str) -> tuple[SmallPolicy, Rollouts]:
    """A batch that somewhat older weights sampled."""
    old, policy = SmallPolicy(), SmallPolicy()
    rollouts = batch(old, seed=2)
    with torch.no_grad():
        policy.model.weight.add_(0.05 * torch.randn(5, 7, generator=torch.Generator().manual_seed(5)))
    depth, left = rollouts.depth, rollouts.length[rollouts.owner] - rollouts.depth
    kept = {
        "all": torch.ones(len(depth)),
        "every third left out": (torch.arange(len(depth)) % 3 != 1).float(),
        "first tokens left out": (depth > 1).float(),
        "last tokens left out": (left > 2).float(),
        "a rollout left out": (rollouts.owner != 2).float(),
    }[share]
    draw = torch.Generator().manual_seed(3)
    advantage = rollouts.spread(torch.randn(len(rollouts), generator=draw))
    if credit == "token":
        advantage = torch.randn(len(depth), generator=draw)
        advantage[::4] = 0
    elif credit == "a group without signal":
        advantage = torch.where(rollouts.group[rollouts.owner] == 1, 0.0, advantage)
    return policy, rollouts.put_actions(share=kept, advantage=advantage)


def annotated(policy: SmallPolicy, objective: PolicyGradient, rollouts: Rollouts) -> Rollouts:
    """As the loop does it."""
    needed = [column for column in declared(objective, "reads") if column == "actions.proximal"]
    if not needed:
        return rollouts
    return annotate(policy.annotate, ["proximal"], reached([objective], needed))(rollouts)


def expected(policy: SmallPolicy, objective: PolicyGradient, rollouts: Rollouts) -> torch.Tensor:
    """Gradient of the sentence, all actions at once, the proximal law asked of the policy everywhere."""
    everything = torch.arange(len(rollouts.actions))
    now = policy.at(rollouts, everything).logprob
    sampled = rollouts.actions.logprob
    proximal = now.detach()
    old = sampled if objective.old == "sampled" and objective.importance_cap is None else proximal
    log_ratio = now - old
    if objective.ratio == "sequence":
        mean = segments.mean(log_ratio.detach(), rollouts.owner)
        log_ratio = mean + log_ratio - log_ratio.detach()
    value, _ = clipped_surrogate(
        log_ratio.exp(), rollouts.actions.advantage, objective.clip_low, objective.clip_high
    )
    if objective.importance_cap is not None:
        value = value * (proximal - sampled).exp().clamp(max=objective.importance_cap)
    policy.model.zero_grad()
    (-(value * action_weights(objective, rollouts)).sum()).backward()
    return torch.cat([weight.grad.flatten() for weight in policy.model.parameters()])


@pytest.mark.parametrize("beside", ["alone", "beside a kl on all actions"])
@pytest.mark.parametrize(("ratio", "correction", "share", "credit"), COMBINATIONS)
def test_every_combination_is_the_sentence_for_any_cut(ratio, correction, share, credit, beside):
    others = [] if beside == "alone" else [Kl(coefficient=0.0)]
    objective = PolicyGradient(ratio=ratio, mean="rollout", **CORRECTIONS[correction])
    seen = []

    def policy_of(moved=lambda model: model):
        policy, _ = prepared(share, credit)
        moved(policy.model)
        return policy

    for budget in (10**6, 6, 1):
        policy, rollouts = prepared(share, credit)
        rollouts = annotated(policy, objective, rollouts)
        learner = made(policy, [objective, *others], tokens_per_micro_batch=budget, max_grad_norm=None)
        wanted = expected(policy_of(), objective, rollouts)
        learner.optimizer.step = lambda learner=learner: seen.append(
            torch.cat([gradient.flatten() for gradient in learner.stepper.gradients()])
        )
        learner(rollouts)
        near = room(lambda moved, rollouts=rollouts: expected(policy_of(moved), objective, rollouts))
        # and what summing up the gradients of so many pieces rounds
        near += len(rollouts.actions) ** 0.5 * 2**-23 * float(wanted.abs().max())
        assert (seen[-1] - wanted).abs().max() <= near
        assert rollouts.actions.share.equal(prepared(share, credit)[1].actions.share)


def test_columns_reach_as_far_as_the_objectives_that_read_them():
    columns = ["actions.proximal"]
    token, sequence = PolicyGradient(old="proximal"), PolicyGradient(old="proximal", ratio="sequence")
    assert reached([token, EntropyBonus(where="all")], columns) == "kept"
    assert reached([token, sequence], columns) == "rollouts"
    assert reached([PolicyGradient(ratio="sequence")], columns) == "kept"
    assert reached([], columns) == "kept"


def test_what_is_annotated_for_a_sequence_ratio():
    policy, rollouts = prepared("every third left out", "rollout")
    rollouts = rollouts.put_actions(share=rollouts.actions.share * (rollouts.owner != 2))
    written = {
        reach: ~annotate(policy.annotate, ["proximal"], reach)(rollouts).actions.proximal.isnan()
        for reach in ("kept", "rollouts", "all")
    }
    kept = rollouts.actions.share > 0
    assert written["kept"].equal(kept) and written["all"].all()
    acting = torch.isin(rollouts.owner, rollouts.owner[kept])
    assert written["rollouts"].equal(acting) and not acting.all()


def test_several_epochs_of_a_corrected_sequence_ratio_run():
    for correction in CORRECTIONS.values():
        objective = PolicyGradient(ratio="sequence", mean="rollout", **correction)
        policy, rollouts = prepared("every third left out", "token")
        learner = made(policy, [objective], epochs=3, minibatches=2, tokens_per_micro_batch=6)
        learner(annotated(policy, objective, rollouts))
        assert weights_of(learner).isfinite().all() and learner.updates == 6
