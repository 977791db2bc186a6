"""Subset: the worked examples of D3S, against brute force, and its variants PODS and random."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.rooms import build
from oneloop.credit.group_relative import group_relative
from oneloop.select.kept_share import Share
from oneloop.select.subset import Subset, quota, renormalised, rollout_value, select_rollouts
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import PolicyGradient
from tests.support.toy import ToyPolicy, chains

REWARDS = torch.tensor([1.0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0])
GROUPS = torch.arange(12) // 4
HALF = Share(start=0.5)


def credited(advantage, group=None, lengths=None):
    lengths = lengths or [1] * len(advantage)
    rollouts = chains(lengths)
    rollouts = rollouts.put(group=torch.zeros(len(lengths), dtype=torch.long) if group is None else group)
    return rollouts.put_actions(advantage=rollouts.spread(torch.as_tensor(advantage).double()).float())


def kept(part, rollouts):
    return part(rollouts).actions.share.nonzero().squeeze(1).tolist()


@pytest.mark.parametrize(
    ("count", "indices", "variance"),
    [(2, [0, 11], 2.25), (4, [0, 4, 6, 11], 1.5), (6, [0, 4, 5, 6, 7, 11], 1.25), (12, range(12), 0.75)],
)
def test_three_groups_of_four(count, indices, variance):
    value = group_relative(REWARDS, GROUPS)
    chosen = select_rollouts(value, torch.zeros(12), count / 12)
    assert chosen.nonzero().squeeze(1).tolist() == list(indices)
    assert value[chosen].var(unbiased=False).item() == pytest.approx(variance, abs=1e-6)
    assert value[chosen].mean().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("count", "variance"), [(2, 6.125), (4, 3.5), (10, 1.925), (16, 1.25), (24, 0.875)])
def test_five_groups_of_eight(count, variance):
    reward = torch.cat([(torch.arange(8) < right).double() for right in (1, 4, 7, 8, 0)])
    value = group_relative(reward, torch.arange(40) // 8)
    chosen = select_rollouts(value, torch.zeros(40), count / 40)
    assert chosen.sum() == count and value[chosen].ne(0).all()
    assert value[chosen].var(unbiased=False).item() == pytest.approx(variance, abs=1e-6)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=8), st.floats(0.01, 1))
def test_no_subset_of_that_size_varies_more(values, share):
    value = torch.tensor(values).double()
    chosen = select_rollouts(value, torch.zeros(len(values)), share)
    size = min(quota(share, len(values)), len(values))
    best = max(torch.tensor(c).double().var(unbiased=False) for c in itertools.combinations(values, size))
    assert chosen.sum() == size
    assert value[chosen].var(unbiased=False).item() == pytest.approx(best.item(), abs=1e-9)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=12), st.floats(0.1, 1))
def test_inside_a_group_advantages_and_rewards_choose_alike(rewards, share):
    reward, one = torch.tensor(rewards).double(), torch.zeros(len(rewards), dtype=torch.long)
    chosen = [select_rollouts(v, one, share) for v in (reward, group_relative(reward, one))]
    best, same = (reward[flags].var(unbiased=False).item() for flags in chosen)
    if reward.unique().numel() > 1:
        assert best == pytest.approx(same, abs=1e-9)


def test_variance_of_the_lemma():
    value = torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)
    chosen = value[select_rollouts(value, torch.zeros(4), 0.75)]
    assert chosen.var(unbiased=False) == pytest.approx(8 / 9) and chosen.var() == pytest.approx(4 / 3)


def test_quota_rounds_halves_up_and_is_at_least_two():
    assert [quota(share, 10) for share in (0.01, 0.25, 0.34, 1.0)] == [2, 3, 3, 10]


def test_uneven_groups_by_label():
    rollouts = credited([3.0, 0, -3, 5, 1, 0, -1, -5, 9], torch.tensor([7, 7, 7, -2, -2, -2, -2, -2, 4]))
    assert kept(Subset(scope="group", share=Share(start=0.4)), rollouts) == [0, 2, 3, 7, 8]


def test_pods_normalises_the_kept_alone():
    rollouts = credited(group_relative(torch.tensor([1.0, 0, 0, 0]), torch.zeros(4))).put(
        reward=torch.tensor([1.0, 0, 0, 0])
    )
    made = Subset(scope="group", share=HALF, advantages="renormalised")(rollouts)
    assert made.actions.share.tolist() == [1, 1, 0, 0]
    torch.testing.assert_close(made.actions.advantage, torch.tensor([0.5**0.5, -(0.5**0.5), -0.5, -0.5]))
    assert renormalised(torch.full((3,), 0.7), torch.ones(3).bool(), torch.zeros(3)).eq(0).all()


def test_centred_advantages_have_mean_zero():
    made = Subset(share=HALF, advantages="centred")(credited([5.0, 1, 0, -1]))
    assert made.actions.advantage[made.actions.share > 0].sum() == pytest.approx(0, abs=1e-6)


def test_zeros_are_dropped_only_when_asked():
    rollouts = credited([-5.0, -0.5, -0.5, -0.5, 0, 0, 0, 1])
    assert kept(Subset(share=HALF), rollouts) == [0, 4, 5, 7]
    assert 4 not in kept(Subset(share=HALF, drop_zero=True), rollouts)


def test_nothing_to_learn_keeps_nothing_and_is_counted():
    for part in (Subset(), Subset(choose="random"), Subset(scope="group", advantages="renormalised")):
        made = part(credited([0.0, 0, 0]))
        assert made.actions.share.eq(0).all() and made.facts["select_metrics"]["select/empty"] == 1
        assert weights(made, "action").eq(0).all()


def test_no_verdict_is_no_candidate_and_infinity_is_an_error():
    assert kept(Subset(share=Share(start=1.0)), credited([1.0, math.nan, -1])) == [0, 2]
    with pytest.raises(ValueError, match=r"rollouts \[101\]"):
        Subset()(credited([1.0, math.inf, -1]))


def test_a_rollout_stands_for_the_mean_of_its_kept_actions():
    rollouts = chains([2, 3, 0]).put_actions(
        advantage=torch.tensor([1.0, 3, 1, -1, 9]), share=torch.tensor([1.0, 1, 1, 1, 0])
    )
    value, teaches = rollout_value(rollouts)
    assert value[:2].tolist() == [2, 0] and value[2].isnan() and teaches.tolist() == [True, True, False]


def test_a_shared_action_stays_while_one_kept_rollout_goes_through_it():
    parent = torch.tensor([-1, 0, 0, 0])
    actions = Actions({"parent": parent, "share": torch.ones(4), "advantage": torch.tensor([0.0, 5, 0, -5])})
    columns = {"last": torch.tensor([1, 2, 3]), "group": torch.zeros(3).long(), "id": torch.arange(3)}
    facts = {"seed": 0, "step": 0, "progress": 0.0}
    assert kept(Subset(share=HALF), Rollouts(columns, actions, facts)) == [0, 1, 3]


def test_random_is_a_function_of_seed_step_and_id():
    rollouts = credited([float(i + 1) for i in range(40)])
    part = Subset(share=HALF, choose="random")
    first = kept(part, rollouts)
    assert len(first) == 20 and first == kept(part, rollouts)
    assert first != kept(part, rollouts.put_facts(step=4)) and first != kept(part, rollouts.put_facts(seed=1))


def test_everything_kept_is_plain_grpo():
    rollouts = credited([1.0, -1, 0, 0.5], lengths=[2, 1, 3, 2])
    policy = ToyPolicy.random(rollouts)
    rollouts = policy.sampled(rollouts).put_actions(entropy=torch.rand(8))
    made = build("select", {"top_tokens": {"share": {"start": 1.0}}})(Subset(share=Share())(rollouts))
    for objective in (PolicyGradient(), PolicyGradient(mean="rollout")):
        pair = [
            policy.gradient(objective, r, [torch.arange(8)], weights(r, objective.mean))
            for r in (rollouts, made)
        ]
        assert torch.equal(*pair)


def test_what_is_reported():
    numbers = Subset(share=Share(start=1.0))(credited([1.0, 0, 0, -1])).facts["select_metrics"]
    assert numbers["select/rollouts"] == 4 and numbers["select/usefulness"] == 0.5
    assert numbers["select/advantage_mean"] == 0 and numbers["select/advantage_variance"] == 0.5


def test_renormalised_needs_groups():
    with pytest.raises(ValueError, match="scope='group'"):
        Subset(advantages="renormalised")
