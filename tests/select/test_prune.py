"""Prune: the published counts, which leaves are chosen, sliding steps, and what is refused."""

import pytest
import torch

from oneloop.select.prune import Prune, extreme, parent_top1
from tests.support.trees import tree

DENSE = (0, 3, 6, 9)


def kept(part, rollouts):
    return int(part(rollouts).actions.share.sum())


def test_counts_of_the_paper_s_tree():
    """218 edges with the last call, which is no action here: 202."""
    rollouts = tree(19, DENSE, 2)
    assert len(rollouts.actions) == 202
    assert len(tree(20, DENSE, 2).actions) == 218
    assert kept(Prune(), tree(20, DENSE, 2)) == 218 - 80
    assert kept(Prune(), rollouts) == 202 - 72
    assert kept(Prune(width="extreme"), rollouts) == 202 - 72
    late = (14, 15, 16, 17, 18)
    assert kept(Prune(width="all", steps=late), rollouts) == 202 - 80
    assert kept(Prune(steps=late), rollouts) == 202 - 72 - 40


def test_the_better_of_siblings_stays_and_so_does_the_fork_itself():
    rollouts = tree(4, (0, 2), 2).put(reward=torch.tensor([1.0, 2.0, 5.0, 4.0]))
    share = Prune()(rollouts).actions.share
    row, action = rollouts.paths
    for rollout, left in ((0, 3), (1, 4), (2, 4), (3, 3)):
        assert share[action[row == rollout]].sum() == left, rollout


def test_extremes_are_the_best_and_the_worst_of_each_tree():
    reward = torch.tensor([3.0, 1, 2, 0, 9, 8, 7, 6])
    chosen = extreme(reward, torch.tensor([0] * 4 + [1] * 4), 1)
    assert chosen.tolist() == [True, False, False, True, True, False, False, True]
    assert extreme(reward, torch.zeros(8, dtype=torch.long), 4).all()
    reward[0] = torch.nan
    assert not extreme(reward, torch.zeros(8, dtype=torch.long), 4)[0]


def test_the_first_of_equals_is_kept_and_nan_comes_last():
    parent = torch.tensor([7, 7, 8, 8])
    assert parent_top1(torch.tensor([1.0, 1, torch.nan, 0]), parent).tolist() == [True, False, False, True]


def test_rewards_advantages_and_rows_are_untouched():
    rollouts = tree(6, (0, 2), 2, trees=2)
    made = Prune(steps=(4,))(rollouts)
    assert torch.equal(made.reward, rollouts.reward) and len(made) == len(rollouts)
    assert set(made.actions) == set(rollouts.actions)


def test_each_tree_is_pruned_by_itself():
    rollouts = tree(6, (0, 2), 2, trees=3, seed=2)
    alone = rollouts.take(torch.arange(4, 8))
    share = (
        Prune()(rollouts)
        .put_actions(share=Prune()(rollouts).actions.share)
        .take(torch.arange(4, 8))
        .actions.share
    )
    assert torch.equal(share, Prune()(alone).actions.share)


def test_a_window_slides_by_a_step_until_it_is_there():
    part = Prune(width="all", steps=(15, 16, 17, 18), slide="earlier", every=30, until=9)
    starts = [int(part.active(step)[0]) for step in (0, 29, 30, 89, 180, 999)]
    assert starts == [15, 15, 14, 13, 9, 9]
    later = Prune(width="all", steps=(9, 10), slide="later", every=10, until=18)
    assert [later.active(step).tolist() for step in (0, 25, 999)] == [[9, 10], [11, 12], [17, 18]]


def test_bad_settings_are_refused():
    rollouts = tree(4, (0, 2), 2)
    with pytest.raises(ValueError, match=r"steps \[4\] do not exist; the last is 3"):
        Prune(steps=(3, 4))(rollouts)
    with pytest.raises(ValueError, match="leaves nothing to learn from"):
        Prune(steps=(0, 1, 2, 3))(rollouts)
    with pytest.raises(ValueError, match="needs steps"):
        Prune(slide="later")
    with pytest.raises(ValueError, match="wrong side"):
        Prune(steps=(3,), slide="earlier", until=4)
