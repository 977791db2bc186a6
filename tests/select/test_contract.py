"""Every file in select/: shares only go down, rows stay, names of groups and order of rows are nothing."""

import pytest
import torch

from oneloop.core.declared import declared
from tests.support.contract import assert_same, every_part, filled, permuted, snapshot
from tests.support.toy import chains

PARTS = every_part("select")
pytestmark = pytest.mark.parametrize("part", PARTS, ids=[type(part).__name__ for part in PARTS])


@pytest.fixture
def rollouts(part):
    table = filled(chains([3, 1, 2, 4, 1, 2, 2, 3], group_size=4), part)
    share = torch.ones(len(table.actions))
    share[::5] = 0
    return table.put_actions(share=share)


def test_only_the_share_changes_and_it_only_falls(part, rollouts):
    before = snapshot(rollouts)
    made = part(rollouts)
    assert_same(before, snapshot(rollouts))
    after = snapshot(made)
    assert "actions.share" in declared(part, "writes")
    for name in set(before) - set(declared(part, "writes")):
        assert_same({name: before[name]}, {name: after[name]})
    assert (made.actions.share <= rollouts.actions.share).all()
    assert set(made.actions.share.tolist()) <= {0.0, 1.0} and made.actions.share.dtype == torch.float32


def test_what_is_left_out_stays_left_out(part, rollouts):
    none = rollouts.put_actions(share=torch.zeros(len(rollouts.actions)))
    assert part(none).actions.share.eq(0).all()


def test_relabelling_groups_and_permuting_rows(part, rollouts):
    share = part(rollouts).actions.share
    assert torch.equal(part(rollouts.put(group=rollouts.group * 9 - 4)).actions.share, share)
    moved, old = permuted(rollouts)
    assert torch.equal(part(moved).actions.share, share[old])


def test_batches_without_rollouts(part, rollouts):
    assert part(rollouts.take(torch.empty(0, dtype=torch.long))).actions.share.shape == (0,)
