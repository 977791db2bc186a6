"""Who does what: every rank works out the same shares, which are disjoint and leave nothing out."""

import pytest
import torch
from tests.support.toy import chains
from tests.update.small_policy import SmallPolicy

from oneloop.parallel.ranks.blocks import blocks
from oneloop.parallel.ranks.shares import by_group, cut_evenly, dealt, digest, idle, turns


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_whole_groups_are_shared_out(size):
    rollouts = chains([3, 1, 4, 2, 5, 2, 1, 6], group_size=2)
    shares = torch.stack([by_group(rollouts, rank, size) for rank in range(size)])
    assert bool((shares.sum(0) == 1).all())
    for group in rollouts.group.unique():
        assert len(shares[:, rollouts.group == group].nonzero()[:, 0].unique()) == 1


@pytest.mark.parametrize(("size", "budget"), [(2, 100), (3, 100), (4, 9), (4, 1)])
def test_pieces_are_cut_so_that_ranks_are_busy_and_hold_every_action_once(size, budget):
    policy, rollouts = SmallPolicy(), chains([3, 1, 4, 2, 5, 2, 1, 6], group_size=2)
    wanted = torch.arange(len(rollouts.actions)) % 5 != 2
    pieces = cut_evenly(lambda tokens: policy.batches(rollouts, wanted, tokens), budget, size)
    assert torch.equal(torch.cat(pieces).sort()[0], wanted.nonzero().squeeze(1))
    whole = list(policy.batches(rollouts, wanted, budget))
    assert idle(len(pieces), size) <= idle(len(whole), size)
    numbers = [dealt(pieces, rank, size) for rank in range(size)]
    assert sorted(sum(numbers, [])) == list(range(len(pieces)))
    assert {len(own) for own in numbers} <= {turns(len(pieces), size), turns(len(pieces), size) - 1}


def test_an_even_cut_is_left_as_it_is():
    rollouts, asked = chains([3, 1, 4, 2], group_size=2), []

    def pieces(budget: int):
        asked.append(budget)
        yield from torch.arange(len(rollouts.actions)).chunk(4)

    assert len(cut_evenly(pieces, 64, 2)) == 4 and asked == [64]
    assert cut_evenly(lambda _: iter(()), 64, 2) == [] and idle(0, 2) == 0.0


def test_a_digest_knows_every_bit_of_what_is_learned_from():
    rollouts = chains([3, 1, 4, 2], group_size=2)
    rollouts = rollouts.put_actions(advantage=torch.ones(len(rollouts.actions)))
    advantage = rollouts.actions.advantage.clone()
    assert digest(rollouts) == digest(rollouts.put_actions(advantage=advantage))
    advantage[3] = advantage[3].nextafter(torch.tensor(2.0))
    assert digest(rollouts) != digest(rollouts.put_actions(advantage=advantage))


def test_the_blocks_are_the_list_that_holds_the_most():
    experts = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(9)])
    layers = torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Sequential(experts)])
    assert blocks(torch.nn.Sequential(torch.nn.Linear(99, 99), layers)) == list(layers)
    assert blocks(torch.nn.Linear(2, 2)) == []
