"""TopTokens: the worked example of D3S, pools, ties, bad input."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.declared import declared
from oneloop.select.kept_share import Share
from oneloop.select.top_tokens import TopTokens, rank, select_tokens
from tests.support.toy import chains

ENTROPY = torch.tensor([0.1, 0.9, 0.3, 1.2, 0.05, 0.6])


def two(**columns):
    advantage = torch.tensor([2.0, 2, 2, -1, -1, -1])
    return chains([3, 3]).put_actions({"advantage": advantage, "entropy": ENTROPY, **columns})


def kept(rollouts, **options):
    return TopTokens(**options)(rollouts).actions.share.nonzero().squeeze(1).tolist()


def test_worked_example():
    assert kept(two(), share=Share(start=0.5)) == [1, 2, 3]
    assert kept(two(), share=Share(start=1 / 3), scope="response") == [1, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=30), st.floats(0.01, 1))
def test_each_pool_keeps_its_share_of_the_best(pairs, share):
    score, pool = torch.tensor([float(s) for s, _ in pairs]), torch.tensor([p for _, p in pairs])
    chosen = select_tokens(score, pool, share)
    for label in pool.unique():
        inside, lost = score[chosen & (pool == label)], score[~chosen & (pool == label)]
        size = int((pool == label).sum())
        assert len(inside) == max(1, math.ceil(share * size - 1e-9))
        assert not len(lost) or inside.min() >= lost.max()


def test_rank_goes_to_the_larger_then_to_the_earlier():
    assert rank(torch.tensor([1.0, 3, 3, 9]), torch.tensor([5, 5, 5, 2])).tolist() == [2, 0, 1, 0]


def test_rounding_residue_does_not_keep_one_more():
    assert select_tokens(torch.rand(100), torch.zeros(100), 0.07).sum() == 7


def test_inside_a_response_one_advantage_has_no_effect():
    half = {"share": Share(start=0.5), "scope": "response"}
    advantage = torch.tensor([0.1, 0.1, 0.1, 7, 7, 7])
    assert kept(two(), **half) == kept(two(advantage=advantage), **half)


def test_a_response_can_be_capped():
    assert kept(two(), share=Share(start=1.0), most_per_response=1) == [1, 3]


def test_nothing_to_learn_keeps_nothing():
    for columns in ({"advantage": torch.zeros(6)}, {"advantage": torch.full((6,), math.nan)}):
        made = TopTokens()(two(**columns))
        assert made.actions.share.eq(0).all() and made.facts["select_metrics"]["select/empty"] == 1


def test_what_was_left_out_is_no_candidate_and_needs_no_entropy():
    share = torch.tensor([1.0, 0, 1, 1, 1, 1])
    entropy = torch.where(share > 0, ENTROPY, math.nan)
    assert kept(two(share=share, entropy=entropy), share=Share(start=0.4)) == [2, 3]


@pytest.mark.parametrize("bad", [{"advantage": math.inf}, {"entropy": math.nan}])
def test_bad_numbers_name_the_rollout(bad):
    (name, value), rollouts = next(iter(bad.items())), two()
    column = rollouts.actions[name].clone()
    column[4] = value
    with pytest.raises(ValueError, match=r"rollouts \[101\]"):
        TopTokens()(rollouts.put_actions({name: column}))


def test_a_share_of_one_keeps_all_and_asks_nobody_for_the_entropy():
    neutral = TopTokens(share=Share(start=1.0))
    assert "actions.entropy" not in declared(neutral, "reads")
    assert "actions.entropy" in declared(TopTokens(share=Share(start=0.5)), "reads")
    assert "actions.entropy" in declared(TopTokens(share=Share(start=1.0), most_per_response=1), "reads")
    rollouts = chains([2, 3]).put_actions(advantage=torch.tensor([1.0, -1.0, 0.0, 2.0, 0.5]))
    assert neutral(rollouts).actions.share.tolist() == [1, 1, 1, 1, 1]
