"""TokenLevel: the worked examples, the identities, and what a recipe may not say."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oneloop.core import segments
from oneloop.credit.group_relative import GroupRelative, group_relative
from oneloop.credit.token_level import TokenLevel, token_advantages, token_rewards
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import PolicyGradient, clipped_surrogate
from tests.support.toy import ToyPolicy, chains, forest


def group_of(outcomes, flags, group_size=None):
    """Rollouts with these outcomes, and one flag for each of their tokens."""
    table = chains([len(row) for row in flags], group_size=group_size or len(flags))
    flaw = torch.tensor([flag for row in flags for flag in row], dtype=torch.float32)
    return table.put(reward=torch.tensor(outcomes, dtype=torch.float64)).put_actions(flaw=flaw)


MIXED = group_of([1, 0], [[0, 0, 1, 1], [0, 0, 0, 1, 1, 1]])


def advantage(rollouts, **options):
    return TokenLevel(**{"eps": 0.0, **options})(rollouts).actions.advantage.double()


@pytest.mark.parametrize(
    ("rollouts", "options", "expected"),
    [
        (MIXED, {}, [1.54545455] * 2 + [0.63636364] * 2 + [-0.27272727] * 3 + [-1.18181818] * 3),
        (MIXED, {"ddof": 1}, [1.46614692] * 2 + [0.60370755] * 2 + [-0.25873181] * 3 + [-1.12117117] * 3),
        (group_of([1, 1], [[0, 0, 0], [0, 1, 0]]), {}, [0.4472136] * 4 + [-2.23606798, 0.4472136]),
        (
            group_of([0, 0], [[0, 1, 1], [1, 1, 0, 0]]),
            {},
            [1.15470054, -0.8660254, -0.8660254, -0.8660254, -0.8660254, 1.15470054, 1.15470054],
        ),
        (group_of([1, 0], [[0] * 2, [0] * 8]), {}, [2.0] * 2 + [-0.5] * 8),
        (group_of([1, 0], [[0] * 2, [0] * 8]), {"pool": "response_balanced"}, [1.0] * 2 + [-1.0] * 8),
        (MIXED, {"scale": "none"}, [1.7] * 2 + [0.7] * 2 + [-0.3] * 3 + [-1.3] * 3),
        # verl's trap: rewards summed over tokens would prefer the longer of two equally good answers
        (group_of([1, 1], [[0] * 100, [0] * 10]), {}, [0.0] * 110),
    ],
)
def test_worked_examples(rollouts, options, expected):
    assert advantage(rollouts, **options).tolist() == pytest.approx(expected, abs=1e-6)


def test_four_levels_of_reward():
    outcome, flaw = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert token_rewards(outcome, flaw).tolist() == [2, 1, 0, -1]
    assert token_rewards(outcome, flaw, 2.0, 5.0).tolist() == [2, -3, 0, -5]
    assert token_rewards(outcome, torch.tensor([0.5, torch.nan, 0.25, 0.0])).tolist() == [1.5, 2, -0.25, 0]


def test_the_objective_on_the_worked_example():
    made = TokenLevel(eps=0.0)(MIXED)
    policy = ToyPolicy.random(made)
    made = policy.sampled(made)
    actions = torch.arange(10)
    loss, _ = PolicyGradient()(policy.at(made, actions), made, actions)
    assert (loss * weights(made, "action")).sum().item() == pytest.approx(0, abs=1e-6)
    assert (loss * weights(made, "rollout")).sum().item() == pytest.approx(-0.18181818, abs=1e-6)
    terms = {(1.3, 1.54545): -1.85454545, (0.7, -1.18182): 0.94545455, (1.3, -1.18182): 1.53636364}
    for (ratio, credit), expected in {**terms, (0.7, 1.54545): -1.08181818}.items():
        got, _ = clipped_surrogate(torch.tensor([ratio]), torch.tensor([credit]), 0.2, 0.2)
        assert -got.item() == pytest.approx(expected, abs=1e-5)


@st.composite
def batches(draw):
    lengths = draw(st.lists(st.integers(1, 6), min_size=4, max_size=4))
    outcomes = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4))
    flags = [draw(st.lists(st.sampled_from([0, 1]), min_size=n, max_size=n)) for n in lengths]
    return group_of(outcomes, flags, group_size=2)


@given(batches(), st.sampled_from(["token_pool", "response_balanced"]))
def test_identities(rollouts, pool):
    made = advantage(rollouts, pool=pool)
    group = rollouts.group[rollouts.owner]
    weight = torch.ones_like(made)
    if pool == "response_balanced":
        weight = 1 / rollouts.length[rollouts.owner].double()
    reward = token_rewards(rollouts.reward[rollouts.owner], rollouts.actions.flaw)
    flat = segments.constant(reward, group)
    torch.testing.assert_close(segments.total(weight * made, group), 0 * made, atol=1e-5, rtol=0)
    variance = segments.total(weight * made.square(), group) / segments.total(weight, group)
    torch.testing.assert_close(variance, (~flat).double(), atol=1e-5, rtol=0)
    assert made[flat].eq(0).all()
    scaled = advantage(rollouts, pool=pool, outcome_weight=0.5, process_weight=0.25)
    shifted = advantage(rollouts.put(reward=rollouts.reward + 3), pool=pool)
    torch.testing.assert_close(scaled, made, atol=1e-5, rtol=0)
    torch.testing.assert_close(shifted, made, atol=1e-5, rtol=0)


@given(batches())
def test_flagging_one_more_token_lowers_it_and_raises_the_others(rollouts):
    flaw = rollouts.actions.flaw.clone()
    before = advantage(rollouts, scale="none")
    place = int(flaw.argmin())
    if flaw[place] == 0:
        flaw[place] = 1
        change = advantage(rollouts.put_actions(flaw=flaw), scale="none") - before
        mine = rollouts.group[rollouts.owner] == rollouts.group[rollouts.owner[place]]
        alone = mine.sum() == 1
        others = mine.clone()
        others[place] = False
        assert change[others].gt(0).all() and (alone or change[place] < 0)
        assert change[~mine].eq(0).all()


def test_without_penalty_and_at_equal_lengths_it_is_grpo():
    rollouts = group_of([1, 0, 0, 1], [[0, 1], [1, 1], [0, 0], [1, 0]])
    plain = GroupRelative(ddof=0)(rollouts).actions.advantage.double()
    torch.testing.assert_close(advantage(rollouts, process_weight=0), plain, atol=1e-6, rtol=0)
    nothing = rollouts.put_actions(flaw=torch.zeros(8))
    torch.testing.assert_close(advantage(nothing, process_weight=0.7), plain, atol=1e-6, rtol=0)


def test_groups_without_signal_for_grpo_come_alive():
    right = group_of([1, 1], [[0, 0, 0], [0, 1, 0]])
    assert group_relative(right.reward, right.group).eq(0).all()
    assert advantage(right).abs().min() > 0.4


def test_no_verdict_is_nan_and_no_critique_is_no_penalty():
    rollouts = group_of([1, torch.nan, 0], [[0, 1], [1, 1], [0, 0]])
    made = advantage(rollouts)
    assert made[2:4].isnan().all() and made[[0, 1, 4, 5]].isfinite().all()
    torch.testing.assert_close(made[[0, 1, 4, 5]], advantage(group_of([1, 0], [[0, 1], [0, 0]])))
    unknown = group_of([1, 0], [[torch.nan] * 2, [1, 0]])
    torch.testing.assert_close(advantage(unknown), advantage(group_of([1, 0], [[0] * 2, [1, 0]])))


def test_no_gradient_flows_into_rewards():
    rollouts = MIXED.put(reward=MIXED.reward.clone())
    assert not TokenLevel()(rollouts).actions.advantage.requires_grad


def test_a_shared_action_has_the_mean_outcome_of_its_rollouts():
    tree = forest(3)
    tree = tree.put_actions(flaw=torch.zeros(len(tree.actions)))
    expected = token_advantages(2 * tree.spread(tree.reward), tree.group[tree.owner], tree.owner, eps=1e-6)
    torch.testing.assert_close(TokenLevel()(tree).actions.advantage, expected.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process_weight": -1.0}, "greater than or equal to 0"),
        ({"outcome_weight": -1.0}, "greater than or equal to 0"),
        ({"outcome_weight": 0.0, "process_weight": 0.0}, "are both 0"),
        ({"pool": "response_balanced", "ddof": 1}, "write ddof: 0"),
    ],
)
def test_faults_of_the_recipe(options, message):
    with pytest.raises(ValidationError, match=message):
        TokenLevel(**options)


def test_warnings():
    with pytest.warns(UserWarning, match="right but flawed ranks below wrong but clean"):
        TokenLevel(process_weight=5.0)
    with pytest.warns(UserWarning, match="single rollout with a verdict and no wrong step"):
        assert advantage(group_of([1], [[0, 0]])).eq(0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert advantage(group_of([1], [[0, 1]])).tolist() == [1, -1]
    with pytest.raises(ValueError, match=r"infinite at actions \[0, 1\]"):
        advantage(group_of([torch.inf], [[0, 0]]))
