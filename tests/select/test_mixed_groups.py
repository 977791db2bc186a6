"""MixedGroups: only groups that can teach keep their share."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import group_relative
from oneloop.select.mixed_groups import MixedGroups, mixed
from oneloop.update.averaging import weights
from tests.core.test_segments import EQUAL_REWARDS
from tests.support.toy import chains

rewards = st.one_of(st.just(math.nan), st.sampled_from(EQUAL_REWARDS))


@given(st.lists(st.tuples(rewards, st.integers(0, 3)), min_size=1, max_size=16))
def test_kept_is_exactly_where_an_advantage_is_not_zero_or_the_group_has_others(pairs):
    reward, group = torch.tensor([v for v, _ in pairs]), torch.tensor([g for _, g in pairs])
    keep = mixed(reward, group)
    for row, (value, label) in enumerate(pairs):
        verdicts = {v for v, g in pairs if g == label and not math.isnan(v)}
        assert bool(keep[row]) == (len(verdicts) > 1 and not math.isnan(value))
    advantage = group_relative(reward, group)
    assert advantage[~keep].nan_to_num(0).eq(0).all()


def test_left_out_groups_leave_the_denominator():
    rollouts = chains([1, 1, 2, 1]).put(reward=torch.tensor([0.7, 0.7, 0.0, 1.0]))
    made = MixedGroups()(rollouts)
    assert made.actions.share.tolist() == [0, 0, 1, 1, 1]
    assert weights(made, "action").sum() == 1 and weights(made, "action")[2] == 1 / 3


def test_a_shared_action_stays_while_one_rollout_through_it_does():
    actions = Actions({"parent": torch.tensor([-1, 0, 0, 0]), "share": torch.tensor([1.0, 1.0, 0.0, 1.0])})
    columns = {"last": torch.tensor([1, 2, 3]), "group": torch.zeros(3, dtype=torch.long)}
    tree = Rollouts({**columns, "reward": torch.tensor([1.0, 0.0, math.nan])}, actions)
    assert MixedGroups()(tree).actions.share.tolist() == [1, 1, 0, 0]
