"""D3S as a whole: a run that anneals both shares, GSPO, nothing to learn; laws of the variance argmax."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.segments import max_variance_subset
from oneloop.credit.group_relative import GroupRelative
from oneloop.run.run import Run
from oneloop.select.kept_share import Share
from oneloop.select.subset import Subset
from oneloop.select.top_tokens import TopTokens
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import PolicyGradient
from tests.support.stopped import Stop, StopAt
from tests.support.toy import ToyPolicy, chains
from tests.support.training import assert_equal, lines, outcome, raw_recipe, recipe, train
from tests.update.test_learner import SmallPolicy, batch, bits, clone, equal, made

VALUES = st.lists(st.integers(-5, 5), min_size=2, max_size=12)
HALF = Share(start=0.5)


def annealed(ratio: str = "token"):
    """Options of a small run on selected rollouts and tokens, both shares growing."""
    phase = raw_recipe()["phases"]["reinforce"]
    del phase["plan"]["in_flight"]
    phase |= {
        "steps": 5,
        "select": [
            {"subset": {"share": {"start": 0.25, "end": 1.0}}},
            {"top_tokens": {"share": {"start": 0.3, "end": 1.0}}},
        ],
        "objective": [{"policy_gradient": {"ratio": ratio}}],
    }
    return {"phases": {"reinforce": phase}, "evaluate": None}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run left alone."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(directory, **annealed())
    return directory


def test_shares_grow_with_progress(whole):
    steps = [line for line in lines(whole) if line["kind"] == "step"]
    progress = [number / 5 for number in range(5)]
    assert [step["select/rollout_share"] for step in steps] == pytest.approx(
        [0.25 + 0.75 * p for p in progress]
    )
    assert [step["select/token_share"] for step in steps] == pytest.approx([0.3 + 0.7 * p for p in progress])
    assert [step["select/rollouts"] for step in steps] == [2, 3, 4, 6, 7]  # of 8
    assert all(step["select/usefulness"] > 0 and step["grad_norm"] > 0 for step in steps)


@pytest.mark.parametrize("number", [1, 3])
def test_a_stopped_run_goes_on_to_the_bit(whole, tmp_path, number):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(**annealed()), directory, False, StopAt(number, "step")).train()
    train(directory, resume=True, **annealed())
    assert_equal(outcome(whole), outcome(directory))


def test_gspo_trains_on_the_selected(tmp_path):
    train(tmp_path / "run", **annealed("sequence"))
    steps = [line for line in lines(tmp_path / "run") if line["kind"] == "step"]
    assert len(steps) == 5 and all(step["grad_norm"] > 0 for step in steps)


def drifted(seed: int):
    """Rollouts with one advantage each, and a policy that has moved since it sampled them."""
    rollouts = chains([2, 3, 1, 4, 2, 3], seed=seed)
    rollouts = ToyPolicy.random(rollouts, seed).sampled(rollouts)
    value = torch.randn(len(rollouts), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    entropy = torch.rand(len(rollouts.actions), generator=torch.Generator().manual_seed(seed + 1))
    return rollouts.put_actions(advantage=rollouts.spread(value), entropy=entropy), ToyPolicy.random(
        rollouts, seed + 1
    )


@given(st.integers(0, 1000))
def test_gspo_on_a_subset_is_gspo_on_those_rollouts_alone(seed):
    rollouts, policy = drifted(seed)
    objective = PolicyGradient(ratio="sequence", mean="rollout", clip_low=0.2, clip_high=0.2)
    selected = Subset(share=HALF)(rollouts)
    kept = rollouts.gather(selected.actions.share, "sum") > 0
    alone, places = rollouts.take(kept), rollouts.structure.take(kept.nonzero().squeeze(1))[0]
    other = ToyPolicy(policy.logits.detach()[places])
    everything = [torch.arange(len(alone.actions))]
    expected = other.gradient(objective, alone, everything, weights(alone, "rollout"))
    everything = [torch.arange(len(rollouts.actions))]
    gradient = policy.gradient(objective, selected, everything, weights(selected, "rollout"))
    assert kept.sum() == 3
    torch.testing.assert_close(gradient[places], expected, rtol=0, atol=1e-12)
    assert gradient.abs().sum() == pytest.approx(expected.abs().sum().item())


@given(st.integers(0, 1000))
def test_the_ratio_of_gspo_is_that_of_the_full_response(seed):
    rollouts, policy = drifted(seed)
    everything = torch.arange(len(rollouts.actions))
    objective = PolicyGradient(ratio="sequence")
    masked = TopTokens(share=HALF)(rollouts)
    readings = [objective(policy.at(r, everything), r, everything)[1]["ratio"] for r in (rollouts, masked)]
    assert torch.equal(*readings)
    gradient = policy.gradient(objective, masked, [everything], weights(masked, "action"))
    assert gradient[masked.actions.share == 0].eq(0).all()


def test_groups_that_agree_skip_the_optimiser_step():
    policy = SmallPolicy()
    rollouts, learner = batch(policy), made(policy, [PolicyGradient()], weight_decay=0.5)
    learner(rollouts)  # momentum would move the weights
    before = clone(bits(learner))
    agreed = rollouts.put(reward=torch.full((len(rollouts),), 0.7, dtype=torch.float64)).put_actions(
        entropy=torch.rand(len(rollouts.actions)), share=torch.ones(len(rollouts.actions))
    )
    for part in (GroupRelative(), Subset(), TopTokens()):
        agreed = part(agreed)
    assert agreed.facts["select_metrics"]["select/empty"] == 1 and agreed.actions.share.eq(0).all()
    learner(agreed)
    assert equal(before, bits(learner)) and learner.metrics["grad_norm"] == 0
    learner(rollouts)
    assert not equal(before, bits(learner))


@given(VALUES, st.data(), st.sampled_from([-7.0, -1.0, -0.1, 0.3, 1.0, 40.0]), st.integers(-100, 100))
def test_an_affine_map_leaves_the_chosen_set_optimal(values, data, scale, shift):
    value = torch.tensor(values).double()
    size = data.draw(st.integers(1, len(values)))
    best, moved = (max_variance_subset(v, size) for v in (value, scale * value + shift))
    assert value[moved].var(unbiased=False).item() == pytest.approx(
        value[best].var(unbiased=False).item(), abs=1e-9
    )


@given(VALUES)
def test_sample_variance_falls_as_more_are_kept_and_is_never_below_that_of_all(values):
    value = torch.tensor(values).double()
    variance = [value[max_variance_subset(value, size)].var().item() for size in range(2, len(values) + 1)]
    assert all(few >= more - 1e-9 for few, more in zip(variance, variance[1:], strict=False))
    assert min(variance) == pytest.approx(value.var().item(), abs=1e-9)
