"""GroupRelative: worked numbers, identities between the published estimators, and what never may happen."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import GroupRelative, group_relative, whiten_actions
from tests.core.test_segments import EQUAL_REWARDS
from tests.support.toy import chains

CENTRES = ["mean", "leave_one_out", "none"]
SCALES = ["group", "batch", "whiten", "none"]
numbers = st.one_of(st.just(math.nan), st.integers(-3, 3).map(float), st.floats(-10, 10, width=32))
grouped = st.lists(st.tuples(numbers, st.integers(0, 3)), min_size=1, max_size=16)


def tensors(pairs):
    return torch.tensor([v for v, _ in pairs], dtype=torch.float64), torch.tensor([g for _, g in pairs])


def test_worked_numbers():
    reward, group = torch.tensor([1.0, 0, 0, 1, 2, 4]), torch.tensor([0, 0, 0, 0, 1, 1])
    half = math.sqrt(0.5)
    std = math.sqrt(1 / 3)  # of 1, 0, 0, 1 with ddof 1
    expected = {
        ("mean", "none", 1): [0.5, -0.5, -0.5, 0.5, -1, 1],
        ("mean", "group", 1): [0.5 / std, -0.5 / std, -0.5 / std, 0.5 / std, -half, half],
        ("mean", "group", 0): [1, -1, -1, 1, -1, 1],
        ("leave_one_out", "none", 1): [2 / 3, -2 / 3, -2 / 3, 2 / 3, -2, 2],
        ("none", "none", 1): [1, 0, 0, 1, 2, 4],
    }
    for (centre, scale, ddof), numbers in expected.items():
        measured = group_relative(reward, group, centre=centre, scale=scale, ddof=ddof)
        assert measured.tolist() == pytest.approx(numbers), (centre, scale, ddof)
    batch = group_relative(reward, group, scale="batch")
    assert batch.tolist() == pytest.approx([x / reward.std().item() for x in [0.5, -0.5, -0.5, 0.5, -1, 1]])
    whitened = group_relative(reward, group, scale="whiten", ddof=0)
    assert whitened.tolist() == pytest.approx([x / math.sqrt(0.5) for x in [0.5, -0.5, -0.5, 0.5, -1, 1]])


def test_eps_is_added_to_the_std():
    reward, group = torch.tensor([0.0, 1.0]), torch.zeros(2, dtype=torch.long)
    size = 0.5 / (math.sqrt(0.5) + 0.1)
    assert group_relative(reward, group, eps=0.1).tolist() == pytest.approx([-size, size])


@given(grouped)
def test_rloo_is_dr_grpo_times_n_over_n_minus_1(pairs):
    reward, group = tensors(pairs)
    size = torch.tensor([sum(g == h and not math.isnan(v) for v, h in pairs) for _, g in pairs]).double()
    centred = group_relative(reward, group, scale="none")
    left_out = group_relative(reward, group, centre="leave_one_out", scale="none")
    factor = size / (size - 1).clamp(min=1)
    torch.testing.assert_close(left_out, factor * centred, rtol=1e-12, atol=1e-12, equal_nan=True)


@given(grouped, st.sampled_from(["mean", "leave_one_out"]), st.sampled_from(SCALES), st.sampled_from([0, 1]))
def test_advantages_of_a_group_sum_to_zero(pairs, centre, scale, ddof):
    reward, group = tensors(pairs)
    advantage = group_relative(reward, group, centre=centre, scale=scale, ddof=ddof)
    assert torch.equal(advantage.isnan(), reward.isnan())
    for label in group.unique():
        inside = advantage[(group == label) & ~reward.isnan()]
        assert abs(inside.sum().item()) <= 1e-6 * (1 + inside.abs().sum().item())


# eighths: a difference of 1e-36 between rewards is one, but gone once 1 is added to both
eighths = st.lists(
    st.tuples(st.integers(-80, 80).map(lambda i: i / 8), st.integers(0, 3)), min_size=1, max_size=16
)


@given(eighths, st.floats(-5, 5), st.floats(0.1, 10), st.sampled_from(["mean", "leave_one_out"]))
def test_an_affine_change_of_rewards_changes_no_standardised_advantage(pairs, shift, factor, centre):
    reward, group = tensors(pairs)
    for scale in ("group", "whiten"):
        before = group_relative(reward, group, centre=centre, scale=scale)
        after = group_relative(reward * factor + shift, group, centre=centre, scale=scale)
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("centre", ["mean", "leave_one_out"])
@pytest.mark.parametrize("scale", SCALES)
def test_equal_rewards_are_exactly_zero_beside_other_groups(centre, scale):
    for reward, size in itertools.product(EQUAL_REWARDS, [2, 3, 8, 15, 64]):
        values = torch.cat([torch.full((size,), reward), torch.tensor([0.0, 1.0, 0.3])])
        group = torch.tensor([5] * size + [2] * 3)
        counted = torch.arange(size + 3) != 1
        for known in (None, counted):
            advantage = group_relative(values, group, centre=centre, scale=scale, counted=known)
            assert advantage[:size].eq(0).all(), (reward, size)
            assert advantage[size:].ne(0).any()


def test_nan_neither_counts_nor_gets_an_advantage():
    reward, group = torch.tensor([0.0, math.nan, 1.0, math.nan]), torch.tensor([0, 0, 0, 1])
    advantage = group_relative(reward, group)
    without = group_relative(reward[[0, 2]], group[[0, 2]])
    assert advantage[[0, 2]].tolist() == without.tolist() and advantage[[1, 3]].isnan().all()


def test_truncated_rollouts_may_stay_out_of_the_baseline():
    reward, group = torch.tensor([1.0, 0.0, 0.0, 0.5]), torch.zeros(4, dtype=torch.long)
    counted = torch.tensor([True, True, False, True])
    centred = group_relative(reward, group, scale="none", counted=counted)
    assert centred.tolist() == pytest.approx([0.5, -0.5, -0.5, 0.0])
    left_out = group_relative(reward, group, centre="leave_one_out", scale="none", counted=counted)
    assert left_out.tolist() == pytest.approx([0.75, -0.75, -0.5, 0.0])
    nobody = group_relative(reward, group, counted=torch.zeros(4, dtype=torch.bool))
    assert nobody.tolist() == [0, 0, 0, 0]


def test_an_infinite_reward_is_refused():
    with pytest.raises(ValueError, match=r"infinite at rows \[1\]"):
        group_relative(torch.tensor([0.0, math.inf]), torch.zeros(2, dtype=torch.long))


def test_a_singleton_gives_zero_and_a_warning():
    rollouts = chains([2, 2, 2], group_size=2)
    with pytest.warns(UserWarning, match=r"1 group\(s\) have a single rollout"):
        advantage = GroupRelative()(rollouts).actions.advantage
    assert advantage[4:].tolist() == [0, 0] and advantage[:4].ne(0).all()


def test_the_part_spreads_one_number_over_each_rollout():
    rollouts = chains([2, 1, 0, 3], group_size=4)
    made = GroupRelative()(rollouts)
    expected = group_relative(rollouts.reward, rollouts.group)[rollouts.owner].float()
    assert made.actions.advantage.dtype == torch.float32
    assert torch.equal(made.actions.advantage, expected)


def test_truncated_option_reads_the_status():
    rollouts = chains([1] * 4, group_size=4).put(
        reward=torch.tensor([1.0, 0.0, 0.0, 0.5]), status=["stop", "stop", "length", "stop"]
    )
    part = GroupRelative(scale="none", truncated_in_baseline=False)
    assert part(rollouts).actions.advantage.tolist() == pytest.approx([0.5, -0.5, -0.5, 0.0])


def test_by_batch_compares_everyone():
    rollouts = chains([1] * 4, group_size=2)
    expected = rollouts.reward - rollouts.reward.mean()
    made = GroupRelative(by="batch", scale="none")(rollouts)
    torch.testing.assert_close(made.actions.advantage, expected.float())


def test_on_a_tree_an_action_gets_the_mean_over_its_leaves():
    actions = Actions({"parent": torch.tensor([-1, 0, 0, 0])})
    columns = {"last": torch.tensor([1, 2, 3]), "group": torch.zeros(3, dtype=torch.long)}
    tree = Rollouts({**columns, "reward": torch.tensor([1.0, 0.0, 0.5])}, actions)
    assert GroupRelative(scale="none")(tree).actions.advantage.tolist() == pytest.approx(
        [0.0, 0.5, -0.5, 0.0]
    )
    unjudged = tree.put(reward=torch.tensor([1.0, 0.0, math.nan]))
    advantage = GroupRelative(scale="none")(unjudged).actions.advantage
    assert advantage[:3].tolist() == pytest.approx([0.0, 0.5, -0.5]) and advantage[3].isnan()


# every action counts once

WHITEN = GroupRelative(scale="whiten_actions", ddof=0)


def of_lengths(lengths, rewards):
    return chains(lengths, group_size=2).put(reward=torch.tensor(rewards, dtype=torch.float64))


def test_whitened_over_actions_a_group_of_equal_rewards_gets_an_advantage():
    made = WHITEN(of_lengths([2, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])).actions.advantage
    expected = [1.069045, 1.069045, -1.603567, -0.267261, -0.267261]
    assert made.tolist() == pytest.approx(expected, abs=1e-6)
    refused_first = WHITEN(of_lengths([2, 1], [1.0, 0.0])).actions.advantage
    assert refused_first.tolist() == pytest.approx([math.sqrt(0.5)] * 2 + [-math.sqrt(2)])


def test_with_equal_lengths_actions_and_rollouts_are_whitened_alike():
    rewards = [1.0, 0.0, 0.0, 0.5, 1.0, 1.0]
    rollouts = of_lengths([3] * 6, rewards)
    over_rollouts = GroupRelative(scale="whiten", ddof=0)(rollouts).actions.advantage
    torch.testing.assert_close(WHITEN(rollouts).actions.advantage, over_rollouts)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-3, 3).map(float)), min_size=2, max_size=9))
def test_whitened_actions_have_mean_0_and_variance_1_or_are_all_0(rows):
    made = WHITEN(of_lengths([n for n, _ in rows], [r for _, r in rows])).actions.advantage.double()
    assert made.isfinite().all() and made.mean().item() == pytest.approx(0, abs=1e-6)
    assert made.eq(0).all() or made.var(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_one_success_in_512_is_not_blown_up_by_its_group():
    """sqrt(511) by the group's std; whitened over a batch with a group of half and half it is far less."""
    rewards = [1.0] + [0.0] * 511 + [1.0, 0.0] * 256
    rollouts = chains([1] * 1024, group_size=512).put(reward=torch.tensor(rewards, dtype=torch.float64))
    by_group = GroupRelative(ddof=0)(rollouts).actions.advantage
    assert by_group[0].item() == pytest.approx(22.605, abs=1e-3)
    assert WHITEN(rollouts).actions.advantage[0].item() == pytest.approx(511 / 512 / 0.355, rel=0.01)


def test_whitening_leaves_out_what_has_no_verdict_and_what_was_cut_off():
    values, everyone = torch.tensor([1.0, math.nan, -1.0, 3.0]), torch.ones(4, dtype=torch.bool)
    made = whiten_actions(values, everyone, ddof=0)
    known = torch.tensor([1.0, -1.0, 3.0])
    expected = (known - 1) / known.std(correction=0)
    torch.testing.assert_close(made[[0, 2, 3]], expected.double(), rtol=1e-6, atol=1e-6)
    assert made[1].isnan()
    assert whiten_actions(torch.full((3,), 0.1), everyone[:3]).eq(0).all()
    assert whiten_actions(values, ~everyone).nan_to_num(0).eq(0).all()
    rollouts = of_lengths([1] * 4, [1.0, 0.0, 0.0, 1.0]).put(status=["stop", "stop", "length", "stop"])
    part = GroupRelative(scale="whiten_actions", ddof=0, truncated_in_baseline=False)
    advantage = part(rollouts).actions.advantage
    counted = torch.tensor([0.5, -0.5, 0.0])  # the rollout cut off is not in the baseline of its group
    scale = counted.std(correction=0).item()
    assert advantage.tolist() == pytest.approx([0.5 / scale, -0.5 / scale, -1 / scale, 0.0], abs=1e-6)


def test_on_a_tree_a_shared_action_counts_once():
    actions = Actions({"parent": torch.tensor([-1, 0, 0])})
    columns = {"last": torch.tensor([1, 2]), "group": torch.zeros(2, dtype=torch.long)}
    tree = Rollouts({**columns, "reward": torch.tensor([1.0, 0.0])}, actions)
    made = WHITEN(tree).actions.advantage
    assert made.tolist() == pytest.approx([0, math.sqrt(1.5), -math.sqrt(1.5)], abs=1e-6)
