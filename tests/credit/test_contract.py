"""Every file in credit/: names of groups and order of rows are nothing, equal rewards teach nothing."""

import warnings

import pytest
import torch

from oneloop.core.declared import declared
from oneloop.credit.group_relative import GroupRelative
from tests.support.contract import assert_same, every_part, filled, permuted, snapshot
from tests.support.toy import chains

PARTS = every_part("credit")
pytestmark = pytest.mark.parametrize("part", PARTS, ids=[type(part).__name__ for part in PARTS])


@pytest.fixture
def rollouts(part):
    return filled(chains([3, 1, 2, 4, 1, 2, 2, 3], group_size=4), part)


def advantage(part, rollouts):
    if "actions.advantage" in declared(part, "reads"):  # it sharpens what a part before it wrote
        rollouts = GroupRelative()(rollouts)
    return part(rollouts).actions.advantage


def test_writes_what_it_declares_and_leaves_the_input_alone(part, rollouts):
    before = snapshot(rollouts)
    made = part(rollouts)
    assert_same(before, snapshot(rollouts))
    written = {name for name in snapshot(made) if name not in before}
    assert written <= set(declared(part, "writes")) and "actions.advantage" in declared(part, "writes")
    assert made.actions.advantage.dtype == torch.float32 and len(made.actions.advantage) == len(made.actions)


def test_relabelling_groups_changes_nothing(part, rollouts):
    expected = advantage(part, rollouts)
    for renamed in (rollouts.group * 1000 - 77, 1 - rollouts.group):
        torch.testing.assert_close(
            advantage(part, rollouts.put(group=renamed)), expected, rtol=1e-6, atol=1e-6
        )


def test_permuting_rows_permutes_the_answer(part, rollouts):
    moved, old = permuted(rollouts)
    expected = advantage(part, rollouts)
    torch.testing.assert_close(advantage(part, moved), expected[old], rtol=1e-6, atol=1e-6)


def test_equal_rewards_give_exactly_zero(part, rollouts):
    for reward in (0.7, 0.15, 1 / 3):
        for dtype in (torch.float32, torch.float64):
            equal = rollouts.put(reward=torch.full((8,), reward, dtype=dtype))
            if "flaw" in equal.actions:  # what credit by token compares beside the reward
                equal = equal.put_actions(flaw=torch.zeros_like(equal.actions.flaw))
            assert advantage(part, equal).eq(0).all()


def test_a_group_is_judged_by_itself_unless_it_says_otherwise(part, rollouts):
    alone = rollouts.take(torch.arange(4))
    torch.testing.assert_close(advantage(part, rollouts)[: len(alone.actions)], advantage(part, alone))


def test_nan_is_no_verdict_and_does_not_spread(part, rollouts):
    reward = rollouts.reward.clone()
    reward[1] = torch.nan
    made = advantage(part, rollouts.put(reward=reward))
    unjudged = rollouts.owner == 1
    assert made[unjudged].isnan().all() and made[~unjudged].isfinite().all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert advantage(part, rollouts.put(reward=torch.full((8,), torch.nan))).isnan().all()


def test_rollouts_without_actions_and_batches_without_rollouts(part, rollouts):
    some = filled(chains([2, 0, 1, 0], group_size=4), part)
    assert advantage(part, some).isfinite().all()
    assert advantage(part, rollouts.take(torch.empty(0, dtype=torch.long))).shape == (0,)
