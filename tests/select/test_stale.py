"""Stale: what older weights sampled is left out, and leaves the denominators whole."""

import pytest
import torch

from oneloop.credit.group_relative import GroupRelative
from oneloop.select.stale import Stale, age
from oneloop.update.averaging import weights
from tests.support.toy import chains


def mixed(**facts):
    """Lengths 3 | 2 | 2 by versions 5 6 7 | 7 7 | 5 5, the last a sibling that finished long ago."""
    made = chains([3, 2, 2], group_size=3)
    return made.put_actions(version=torch.tensor([5, 6, 7, 7, 7, 5, 5])).put_facts(**facts)


@pytest.mark.parametrize(
    ("max_age", "kept"),
    [(0, [0, 0, 1, 1, 1, 0, 0]), (1, [0, 1, 1, 1, 1, 0, 0]), (2, [1] * 7), (9, [1] * 7)],
)
def test_who_is_too_old(max_age, kept):
    assert Stale(max_age=max_age)(mixed(version=7)).actions.share.tolist() == kept


def test_age_counts_from_the_weights_to_be_trained_not_from_the_batch():
    assert age(mixed(version=7).actions.version, 7).tolist() == [2, 1, 0, 0, 0, 2, 2]
    assert age(mixed(version=9).actions.version, 9).tolist() == [
        4,
        3,
        2,
        2,
        2,
        4,
        4,
    ]  # a batch that was ready without sampling
    assert Stale()(mixed(version=9)).actions.share.sum() == 0
    assert age(mixed().actions.version).tolist() == [2, 1, 0, 0, 0, 2, 2], (
        "without the fact: from the newest action"
    )


def test_demonstrations_have_no_age():
    shown = mixed(version=7).put_actions(version=torch.full((7,), -1))
    assert age(shown.actions.version, 7).eq(0).all() and Stale()(shown).actions.share.eq(1).all()


def test_shares_only_fall():
    some = mixed(version=7).put_actions(share=torch.tensor([1.0, 1, 0, 1, 0, 1, 1]))
    assert Stale(max_age=1)(some).actions.share.tolist() == [0, 1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("mean", ["action", "rollout", "group"])
def test_a_rollout_masked_whole_leaves_no_hole_in_the_denominator(mean):
    weight = weights(Stale()(mixed(version=7)), mean)
    assert weight.sum().item() == pytest.approx(1) and weight[5:].eq(0).all()
    nothing = weights(Stale()(mixed(version=9)), mean)
    assert nothing.eq(0).all(), "all masked is 0, never 0 / 0"


def test_the_reward_of_a_masked_rollout_still_counts_in_the_baseline():
    rewards = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    with_it = Stale()(GroupRelative(scale="none")(mixed(version=7).put(reward=rewards)))
    assert with_it.actions.advantage[2].item() == pytest.approx(2 / 3)
    assert with_it.actions.share[5:].eq(0).all()


def test_a_negative_age_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Stale(max_age=-1)
