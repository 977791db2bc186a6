"""Novelty: the paper's worked numbers, what must never change, and the traps of the formula."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.declared import declared
from oneloop.core.rollouts import Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.novelty import Novelty, boost, novelty
from tests.support.toy import chains, forest

NAN = math.nan


def group_of(rewards, scores, lengths=None, **columns) -> Rollouts:
    """One group of chains; every action of rollout i has log-probability scores[i]."""
    lengths = lengths or [2] * len(rewards)
    made = chains(lengths, group_size=len(rewards))
    logprob = torch.tensor(scores, dtype=torch.float64)[made.owner]
    reward = torch.tensor(rewards, dtype=torch.float64)
    made = made.put_actions(logprob=logprob.float()).put(reward=reward, correct=reward, **columns)
    return made


def sharpened(rollouts: Rollouts, ddof: int = 0, **options) -> list[float]:
    """One advantage a rollout."""
    done = Novelty(**options)(GroupRelative(ddof=ddof)(rollouts))
    return done.gather(done.actions.advantage.double()).tolist()


RIGHT = [1.0, 1, 0, 0]


@pytest.mark.parametrize(
    ("scores", "ddof", "expected"),
    [
        ([-0.5, -0.9, -0.6, -0.4], 0, [1, 1.5, -1, -1]),
        ([-0.5, -0.9, -0.6, -0.4], 1, [0.866025, 1.299038, -0.866025, -0.866025]),
        ([-0.5, -0.7, -0.6, -0.6], 0, [1, 1.237906, -1, -1]),
        ([-0.5, -0.7, -0.6, -0.6], 1, [0.866025, 1.103932, -0.866025, -0.866025]),
    ],
)
def test_worked_numbers(scores, ddof, expected):
    assert sharpened(group_of(RIGHT, scores), ddof) == pytest.approx(expected, abs=1e-6)


def test_worked_novelty():
    eta = novelty(torch.tensor([-0.5, -0.9, -0.6, -0.4]), torch.zeros(4))
    assert eta.tolist() == pytest.approx([1.105171, 0.740818, 1, 1.221403], abs=1e-6)
    again = Novelty()(GroupRelative()(group_of(RIGHT, [-0.5, -0.9, -0.6, -0.4])))
    assert again.novelty.tolist() == pytest.approx(eta.tolist(), abs=1e-6)


def test_where_the_clip_binds():
    """At s - mean <= log(1 - .2 A) with the paper's 2.5 and .5; never from A = 5 on."""
    for size in (0.5, 1.0, 2.0):
        edge = math.log(1 - 0.2 * size)
        for score, binds in ((edge - 0.01, True), (edge + 0.01, False)):
            bonus = torch.tensor([2.5 * (1 - math.exp(score))], dtype=torch.float64)
            gain = boost(torch.tensor([size], dtype=torch.float64), bonus, 0.5).item()
            assert (gain == pytest.approx(0.5 * size)) == binds
    assert boost(torch.tensor([5.0]), torch.tensor([2.499]), 0.5).item() == pytest.approx(2.499)


groups = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.floats(-4, -0.05), st.integers(1, 5)), min_size=2, max_size=9
)


@given(groups, st.floats(0, 5), st.floats(0, 2))
def test_bounds_masks_and_identities(drawn, weight, clip):
    rewards, scores, lengths = map(list, zip(*drawn, strict=True))
    made = GroupRelative()(group_of(rewards, scores, lengths))
    before = made.actions.advantage
    after = Novelty(weight=weight, clip=clip)(made).actions.advantage
    wrong = made.correct[made.owner] == 0
    assert torch.equal(after[wrong], before[wrong])
    assert (after >= before).all()
    ceiling = torch.where(before > 0, (1 + clip) * before, before)
    assert (after <= ceiling + 1e-6).all()
    assert torch.equal(after[before == 0], before[before == 0])
    eta = Novelty()(made).novelty
    assert eta.log().sum().item() == pytest.approx(0, abs=1e-6), "the etas of a group multiply to 1"


@given(groups, st.floats(-3, 3))
def test_a_number_added_to_every_log_prob_changes_nothing(drawn, shift):
    rewards, scores, lengths = map(list, zip(*drawn, strict=True))
    moved = [score + shift for score in scores]
    etas = [
        novelty(torch.tensor(each, dtype=torch.float64), torch.zeros(len(each))).tolist()
        for each in (scores, moved)
    ]
    assert etas[0] == pytest.approx(etas[1], rel=1e-9)


def test_special_cases_are_grpo():
    scores = [-0.5, -0.9, -0.6, -0.4]
    plain = [1, 1, -1, -1]
    assert sharpened(group_of(RIGHT, scores), clip=0.0) == pytest.approx(plain)
    assert sharpened(group_of(RIGHT, scores), weight=0.0) == pytest.approx(plain)
    assert sharpened(group_of(RIGHT, [-0.7] * 4)) == pytest.approx(plain)
    assert sharpened(group_of([1.0] * 4, scores)) == [0.0] * 4, "novelty cannot make a signal"
    assert sharpened(group_of([0.0] * 4, scores)) == [0.0] * 4
    assert sharpened(group_of(RIGHT, scores), weight=1e9) == pytest.approx([1, 1.5, -1, -1])


def test_the_traps_of_the_formula():
    """Unmasked, wrong answers would be at -1.5; with |A| a novel wrong one would be rewarded."""
    novel_wrong = sharpened(group_of(RIGHT, [-0.2, -0.2, -3.0, -0.2]))
    assert novel_wrong == pytest.approx([1, 1, -1, -1])
    # a correct rollout a judge of style rated below average: its advantage is negative, so nothing is added
    made = group_of(RIGHT, [-0.5, -3.0, -0.6, -0.4]).put(
        reward=torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=torch.float64)
    )
    made = made.put(correct=torch.tensor(RIGHT, dtype=torch.float64))
    graded = GroupRelative(ddof=0)(made)
    assert torch.equal(Novelty()(graded).actions.advantage[2:4], graded.actions.advantage[2:4])


def test_tokens_with_advantages_of_their_own():
    """After token-level credit only tokens with a positive advantage are boosted, each by its own clip."""
    made = group_of(RIGHT, [-0.5, -0.9, -0.6, -0.4])
    advantage = torch.tensor([1.0, 1.0, 2.0, -0.3, -1.0, -1.0, -1.0, -1.0])
    after = Novelty()(made.put_actions(advantage=advantage)).actions.advantage
    bonus = 2.5 * (1 - math.exp(-0.3))
    expected = [1, 1, 2 + bonus, -0.3, -1, -1, -1, -1]
    assert after.tolist() == pytest.approx(expected, abs=1e-6)


def test_length_does_not_count_but_the_mean_does():
    short = group_of(RIGHT, [-0.5, -0.9, -0.6, -0.4], [1, 1, 1, 1])
    long = group_of(RIGHT, [-0.5, -0.9, -0.6, -0.4], [5, 2, 7, 3])
    assert sharpened(short) == pytest.approx(sharpened(long), abs=1e-6)


def test_missing_verdicts_and_empty_responses():
    made = group_of([1.0, 1, 0, NAN], [-0.5, -0.9, -0.6, -0.4], [2, 0, 2, 2])
    done = Novelty()(GroupRelative(ddof=0)(made))
    assert done.novelty[1] == 1.0, "no actions: as likely as the others"
    assert done.actions.advantage[-2:].isnan().all() and done.actions.advantage[:-2].isfinite().all()
    impossible = group_of(RIGHT, [-math.inf, -0.9, -0.6, -0.4])
    assert all(math.isfinite(value) for value in sharpened(impossible))
    alone = Novelty()(GroupRelative()(group_of([1.0], [-0.5])))
    assert alone.actions.advantage.eq(0).all() and alone.novelty.tolist() == [1.0]


def test_among_the_correct_ones():
    made = GroupRelative()(group_of(RIGHT, [-0.5, -0.9, -0.1, -0.1]))
    everybody, correct = (Novelty(among=among)(made) for among in ("all", "correct"))
    assert everybody.novelty[1].item() == pytest.approx(math.exp(-0.9 + 0.4))
    assert correct.novelty[1].item() == pytest.approx(math.exp(-0.9 + 0.7))


def test_seeded_rollouts_are_compared_with_seeded_ones():
    made = group_of(RIGHT, [-2.0, -0.1, -2.2, -0.3], seeded=torch.tensor([0, 2, 0, 2]))
    done = Novelty()(GroupRelative(ddof=0)(made))
    assert done.novelty.tolist() == pytest.approx(
        [math.exp(0.1), math.exp(0.1), math.exp(-0.1), math.exp(-0.1)]
    )


def test_the_weights_at_the_start_of_the_update():
    made = GroupRelative(ddof=0)(group_of(RIGHT, [-0.5] * 4))
    made = made.put_actions(proximal=torch.tensor([-0.5, -0.9, -0.6, -0.4])[made.owner])
    assert declared(Novelty(likelihood="proximal"), "reads")[1] == "actions.proximal"
    done = Novelty(likelihood="proximal")(made)
    assert done.gather(done.actions.advantage.double()).tolist() == pytest.approx([1, 1.5, -1, -1])


def test_on_a_tree_a_shared_action_gets_the_mean_boost_within_its_own_clip():
    made = forest(1, rows=8, count=24, group_size=8)
    reward = torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0], dtype=torch.float64)
    made = GroupRelative()(made.put(reward=reward, correct=reward))
    after, before = Novelty()(made).actions.advantage, made.actions.advantage
    assert ((after >= before) & (after <= torch.where(before > 0, 1.5 * before, before) + 1e-6)).all()
    assert not made.structure.is_chain and (after > before).any()
