"""Truncated: the loss mask goes by the sampler's finish reason."""

import torch

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.select.truncated import Truncated
from tests.support.toy import chains


def test_only_status_length_is_left_out():
    statuses = ["stop", "length", "failed", "aborted"]
    rollouts = chains([2, 2, 1, 1]).put(status=statuses)
    assert Truncated()(rollouts).actions.share.tolist() == [1, 1, 0, 0, 1, 1]


def test_a_shared_start_stays_while_one_leaf_is_complete():
    actions = Actions({"parent": torch.tensor([-1, 0, 0]), "share": torch.ones(3)})
    tree = Rollouts({"last": torch.tensor([1, 2]), "status": ["length", "stop"]}, actions)
    assert Truncated()(tree).actions.share.tolist() == [1, 0, 1]
    assert Truncated()(tree.put(status=["length", "length"])).actions.share.tolist() == [0, 0, 0]
