"""Tree: the paper's numbers by hand, both ways to fuse, and what it is a special case of."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.tree import Tree, weighted_by_children, weighted_by_leaves
from tests.support.trees import tree

HALF = math.sqrt(0.5)
SHAPES = st.sampled_from([((0,), 4), ((0, 2), 2), ((1, 3), 3), ((0, 1, 2), 2), ((2,), 5)])


def worked() -> Rollouts:
    """Three steps, forks at 0 and 1: u = {a, b}, v = {c, d}, leaves worth 1, 2, 4, 9."""
    parent = [-1, -1, 0, 0, 1, 1, 2, 3, 4, 5]
    logprob = [-1.0, -1.4, -1.0, -1.2, -1.6, -1.1, -1.05, -0.95, -1.0, -1.2]
    actions = Actions({"parent": torch.tensor(parent), "logprob": torch.tensor(logprob, dtype=torch.float64)})
    columns = {"last": torch.tensor([6, 7, 8, 9]), "group": torch.zeros(4, dtype=torch.long)}
    return Rollouts({**columns, "reward": torch.tensor([1.0, 2, 4, 9], dtype=torch.float64)}, actions)


def below_a_root(rollouts: Rollouts) -> Rollouts:
    """The same with one more action at the top, so that the whole tree has a value."""
    actions = rollouts.actions
    parent = torch.cat([torch.tensor([-1]), actions.parent + 1])
    table = {"parent": parent, "logprob": torch.cat([torch.zeros(1), actions.logprob])}
    return Rollouts({**rollouts.columns, "last": rollouts.last + 1}, Actions(table))


def test_worked_means_and_advantages():
    made = Tree()(worked()).actions.advantage.tolist()
    leaves = [-0.84292723, -0.56195149, 0.0, 1.40487871]
    assert made == pytest.approx([-HALF, HALF, *leaves, *leaves], abs=1e-6)
    value = Tree().value(below_a_root(worked()), worked().reward)
    assert value[:3].tolist() == pytest.approx([4, 1.5, 6.5])
    population = Tree(ddof=0)(worked()).actions.advantage.tolist()
    leaves = [-0.97332852, -0.64888568, 0.0, 1.62221421]
    assert population == pytest.approx([-1, 1, *leaves, *leaves], abs=1e-6)


def parts_of(rollouts):
    actions = rollouts.actions
    return rollouts.reward, actions.logprob, rollouts.last, actions.parent


def test_worked_weighted_values():
    rollouts = below_a_root(worked())
    leaves = weighted_by_leaves(*parts_of(rollouts), 1.0)[:3].tolist()
    assert leaves == pytest.approx([3.218287, 1.475021, 6.872213], abs=1e-6)
    children = weighted_by_children(*parts_of(rollouts), 1.0)[:3].tolist()
    assert children == pytest.approx([3.722449, 1.450166, 7.112297], abs=1e-6)


@given(SHAPES, st.floats(0.1, 3), st.integers(0, 9))
def test_weighting_leaves_is_weighting_children_by_all_that_is_below_them(shape, beta, seed):
    rollouts = tree(6, *shape, seed=seed)
    actions, row = rollouts.actions, rollouts.paths
    expected = weighted_by_leaves(*parts_of(rollouts), beta)
    log_mass, value = torch.zeros(len(actions)).double(), torch.zeros(len(actions)).double()
    ends = set(rollouts.last.tolist())
    for at in reversed(range(len(actions))):
        children = (actions.parent == at).nonzero().squeeze(1)
        if at in ends:
            value[at] = rollouts.reward[row[0][row[1] == at]].item()
            continue
        scores = beta * actions.logprob[children].double() + log_mass[children]
        log_mass[at] = scores.logsumexp(0)
        value[at] = (scores.softmax(0) * value[children]).sum()
    torch.testing.assert_close(expected, value, rtol=1e-9, atol=1e-9)


@given(SHAPES, st.floats(0, 5), st.sampled_from(["leaves", "children"]), st.integers(0, 9))
def test_a_value_lies_between_the_leaves_below_it(shape, beta, fusion, seed):
    rollouts = tree(6, *shape, seed=seed)
    value = Tree(beta=beta, fusion=fusion).value(rollouts, rollouts.reward)
    row, action = rollouts.paths
    for at in range(len(value)):
        below = rollouts.reward[row[action == at]]
        assert below.min() - 1e-9 <= value[at] <= below.max() + 1e-9


@given(SHAPES, st.integers(0, 9), st.floats(0.1, 10), st.floats(-5, 5))
def test_every_depth_is_standardised_and_scale_is_nothing(shape, seed, factor, shift):
    rollouts = tree(6, *shape, trees=2, seed=seed)
    advantage = Tree(clip=None)(rollouts).actions.advantage.double()
    unit = rollouts["tree"][rollouts.owner]
    for label in unit.unique():
        for depth in range(6):
            level = advantage[(unit == label) & (rollouts.depth == depth)]
            assert abs(level.sum()) < 1e-5
            assert len(level) == 1 or level.std() == pytest.approx(1, abs=1e-5)
    moved = Tree(clip=None)(rollouts.put(reward=rollouts.reward * factor + shift)).actions.advantage
    torch.testing.assert_close(moved.double(), advantage, rtol=1e-4, atol=1e-4)
    turned = Tree(clip=None)(rollouts.put(reward=-rollouts.reward)).actions.advantage
    torch.testing.assert_close(turned.double(), -advantage, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("leaves", [2, 5, 16])
def test_one_fork_at_the_start_is_group_relative(leaves):
    rollouts = tree(5, (0,), leaves, trees=3)
    expected = GroupRelative()(rollouts).actions.advantage
    torch.testing.assert_close(Tree(clip=None)(rollouts).actions.advantage, expected, rtol=0, atol=1e-7)


def test_between_forks_the_advantage_stands_still_and_two_values_are_a_half():
    rollouts = tree(6, (0, 3), 2, seed=4)
    advantage, depth = Tree()(rollouts).actions.advantage, rollouts.depth
    for step in (0, 1, 2):
        assert advantage[depth == step].abs().tolist() == pytest.approx([HALF, HALF])
    assert torch.equal(advantage[depth == 3], advantage[depth == 5])


def test_the_mean_of_a_depth_is_the_same_and_its_spread_grows():
    rollouts = tree(6, (0, 2, 4), 2, seed=1)
    value = Tree().value(rollouts, rollouts.reward)
    levels = [value[rollouts.depth == step] for step in range(6)]
    assert [float(level.mean()) for level in levels] == pytest.approx([float(rollouts.reward.mean())] * 6)
    spread = [float(level.std(correction=0)) for level in levels]
    assert all(a <= b + 1e-12 for a, b in zip(spread, spread[1:], strict=False))


def test_clip_bounds_the_advantage():
    rollouts = tree(1, (0,), 40).put(reward=torch.tensor([1.0] + [0.0] * 39))
    assert Tree(clip=None)(rollouts).actions.advantage.max() > 5
    assert Tree()(rollouts).actions.advantage.max() == 5


def test_a_leaf_without_verdict_counts_nowhere():
    rollouts = tree(4, (0, 2), 2)
    reward = rollouts.reward.clone()
    reward[1] = torch.nan
    for part in (Tree(), Tree(beta=1.0), Tree(beta=1.0, fusion="children")):
        advantage = part(rollouts.put(reward=reward)).actions.advantage
        assert advantage.isnan().sum() == 2  # its own two actions
        assert part.value(rollouts.put(reward=reward), reward)[0] == pytest.approx(reward[0].item())


def test_an_infinite_reward_is_refused():
    with pytest.raises(ValueError, match=r"infinite at rows \[0\]"):
        Tree()(tree(2, (0,), 2).put(reward=torch.tensor([math.inf, 0.0])))


def test_log_probs_are_read_only_where_they_weigh():
    from oneloop.core.declared import declared

    assert declared(Tree(), "reads") == ("reward",)
    assert declared(Tree(beta=0.5), "reads") == ("reward", "actions.logprob")
