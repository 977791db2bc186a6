"""GroupRelative: worked numbers, identities between the published estimators, and what never may happen."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.credit.group_relative import GroupRelative, group_relative
from oneloop.rollouts import Actions, Rollouts
from tests.test_segments import EQUAL_REWARDS
from tests.toy import chains

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
