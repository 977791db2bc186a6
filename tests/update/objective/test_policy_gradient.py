"""PolicyGradient: clip numbers by hand, GSPO against the plain sequence form, corrections, bad options."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oneloop.core.declared import declared
from oneloop.select.stale import Stale
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import (
    PolicyGradient,
    clipped_surrogate,
    importance_weights,
    sequence_log_ratio,
)
from tests.support.toy import ToyPolicy, chains, table

lengths = st.lists(st.integers(0, 4), min_size=1, max_size=6)


def prepared(lengths, drift=0.0, seed=0):
    """Rollouts sampled by a toy policy that has moved by `drift` since, and that policy."""
    rollouts = chains(lengths, seed=seed)
    policy = ToyPolicy.random(rollouts, seed)
    rollouts = policy.sampled(rollouts)
    draw = torch.Generator().manual_seed(seed + 1)
    moved = policy.logits.detach() + drift * torch.randn(
        policy.logits.shape, generator=draw, dtype=torch.float64
    )
    rewards = torch.randn(len(rollouts), generator=draw, dtype=torch.float64)
    return rollouts.put_actions(advantage=rollouts.spread(rewards)), ToyPolicy(moved)


def evaluate(objective, policy, rollouts, actions=None):
    actions = torch.arange(len(rollouts.actions)) if actions is None else actions
    return objective(policy.at(rollouts, actions), rollouts, actions)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "clipped"),
    [  # PPO terms of CAPO's worked example, clip 0.2 on both sides
        (1.3, 1.54545, 1.85454, True),
        (0.7, -1.18182, -0.945456, True),
        (1.3, -1.18182, -1.536366, False),
        (0.7, 1.54545, 1.081815, False),
        (1.0, 2.0, 2.0, False),
        (1.2, 2.0, 2.4, False),
        (5.0, 0.0, 0.0, False),
    ],
)
def test_worked_clip(ratio, advantage, expected, clipped):
    value, flag = clipped_surrogate(
        torch.tensor([ratio], dtype=torch.float64), torch.tensor([advantage], dtype=torch.float64), 0.2, 0.2
    )
    assert value.item() == pytest.approx(expected, abs=1e-6) and flag.item() is clipped


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "clipped"),
    [
        (4.0, -1.0, -3.0, True),  # dual clip bounds the penalty at 3
        (2.9, -1.0, -2.9, False),
        (4.0, 1.0, 1.28, True),  # the upper clip comes first for a positive advantage
        (1.25, 1.0, 1.25, False),  # asymmetric: 0.28 above
        (0.5, -1.0, -0.8, True),  # and 0.2 below
    ],
)
def test_worked_asymmetric_and_dual_clip(ratio, advantage, expected, clipped):
    value, flag = clipped_surrogate(
        torch.tensor([ratio], dtype=torch.float64),
        torch.tensor([advantage], dtype=torch.float64),
        0.2,
        0.28,
        3.0,
    )
    assert value.item() == pytest.approx(expected, abs=1e-6) and flag.item() is clipped


@given(st.floats(0.01, 5), st.floats(-3, 3), st.sampled_from([None, 3.0]))
def test_clipped_says_where_the_gradient_is_zero(ratio, advantage, dual):
    if min(abs(ratio - edge) for edge in (0.8, 1.2, 3.0)) < 1e-6 or abs(advantage) < 1e-6:
        return  # at the edges torch may split the gradient
    x = torch.tensor([ratio], dtype=torch.float64, requires_grad=True)
    value, clipped = clipped_surrogate(x, torch.tensor([advantage], dtype=torch.float64), 0.2, 0.2, dual)
    value.sum().backward()
    assert (x.grad.item() == 0) is clipped.item()


@given(lengths, st.sampled_from(["token", "sequence"]))
def test_before_the_first_update_the_ratio_is_exactly_one(lengths, ratio):
    rollouts, policy = prepared(lengths)
    loss, readings = evaluate(PolicyGradient(ratio=ratio), policy, rollouts)
    assert readings["ratio"].eq(1).all() and readings["clipped"].eq(0).all()
    assert torch.equal(loss, -rollouts.actions.advantage)


@given(lengths, st.sampled_from(["token", "sequence"]))
def test_at_ratio_one_the_gradient_is_the_plain_policy_gradient(lengths, ratio):
    rollouts, policy = prepared(lengths)
    everything = torch.arange(len(rollouts.actions))
    weight = weights(rollouts, "rollout")
    measured = policy.gradient(PolicyGradient(ratio=ratio, mean="rollout"), rollouts, [everything], weight)
    logprob = policy.at(rollouts, everything).logprob
    (expected,) = torch.autograd.grad(-(weight * rollouts.actions.advantage * logprob).sum(), policy.logits)
    torch.testing.assert_close(measured, expected, rtol=0, atol=1e-12)


@given(lengths, st.floats(0, 2))
def test_gspo_equals_the_plain_sequence_form(lengths, drift):
    """Value and gradient of -min(s A, clip(s) A) per rollout, s = exp(mean log-ratio)."""
    rollouts, policy = prepared(lengths, drift)
    everything = torch.arange(len(rollouts.actions))
    objective = PolicyGradient(ratio="sequence", mean="rollout", clip_low=0.05, clip_high=0.07)
    weight = weights(rollouts, "rollout")
    loss, readings = evaluate(objective, policy, rollouts)
    measured = policy.gradient(objective, rollouts, [everything], weight)
    log_ratio = rollouts.gather(policy.at(rollouts, everything).logprob - rollouts.actions.logprob)
    acting = rollouts.length > 0
    s = log_ratio[acting].exp()
    advantage = rollouts.gather(rollouts.actions.advantage)[acting]
    surrogate = torch.minimum(s * advantage, s.clamp(0.95, 1.07) * advantage)
    expected = -surrogate.mean() if acting.any() else (policy.logits * 0).sum()
    torch.testing.assert_close((weight * loss).sum(), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(readings["ratio"], rollouts.spread(rollouts.gather(readings["ratio"])))
    (gradient,) = torch.autograd.grad(expected, policy.logits)
    torch.testing.assert_close(measured, gradient, rtol=0, atol=1e-10)


def test_gspo_counts_what_select_left_out_but_does_not_teach_it():
    rollouts, policy = prepared([3, 3], drift=0.1)
    full, _ = evaluate(PolicyGradient(ratio="sequence"), policy, rollouts)
    left_out = rollouts.put_actions(share=torch.tensor([1.0, 0, 1, 1, 1, 1]))
    objective = PolicyGradient(ratio="sequence", clip_high=5, clip_low=1)
    loss, _ = evaluate(objective, policy, left_out)
    torch.testing.assert_close(loss, evaluate(objective, policy, rollouts)[0])
    gradient = policy.gradient(objective, left_out, [torch.arange(6)], weights(left_out, "action"))
    assert gradient[1].eq(0).all() and gradient[[0, 2, 3, 4, 5]].abs().sum(-1).gt(0).all()
    assert objective.whole and not PolicyGradient().whole and len(full) == 6


def test_worked_sequence_ratio():
    log_ratio = torch.tensor([0.1, 0.3, -0.5], dtype=torch.float64, requires_grad=True)
    value = sequence_log_ratio(log_ratio, torch.tensor([7, 7, 2]))
    assert value.tolist() == pytest.approx([0.2, 0.2, -0.5])
    (gradient,) = torch.autograd.grad(value[0], log_ratio)
    assert gradient.tolist() == [1, 0, 0]


def test_sequence_ratio_refuses_shared_actions_and_missing_logprobs():
    tree = table([1, 2], [-1, 0, 0]).put_actions(advantage=torch.ones(3))
    with pytest.raises(ValueError, match="share no action"):
        evaluate(PolicyGradient(ratio="sequence"), ToyPolicy.random(tree), tree)
    rollouts, policy = prepared([2, 2])
    rollouts = rollouts.put_actions(logprob=torch.tensor([0.0, 0.0, math.nan, 0.0]))
    with pytest.raises(ValueError, match=r"NaN in rollouts \[1\]"):
        evaluate(PolicyGradient(ratio="sequence"), policy, rollouts)


def test_sequence_ratio_takes_rollouts_that_are_disjoint_but_not_laid_end_to_end():
    rollouts, policy = prepared([2, 3], drift=0.3)
    swapped = rollouts.put(last=rollouts.last.flip(0))
    objective = PolicyGradient(ratio="sequence")
    torch.testing.assert_close(
        evaluate(objective, policy, swapped)[0], evaluate(objective, policy, rollouts)[0]
    )


@given(lengths, st.floats(0, 2), st.floats(0.5, 3))
def test_truncated_importance_sampling(lengths, drift, cap):
    rollouts, policy = prepared(lengths, drift)
    proximal = rollouts.actions.logprob + 0.4 * torch.randn(
        len(rollouts.actions), generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    rollouts = rollouts.put_actions(proximal=proximal)
    loss, readings = evaluate(PolicyGradient(importance_cap=cap), policy, rollouts)
    importance = (proximal - rollouts.actions.logprob).exp().clamp(max=cap)
    assert torch.equal(readings["importance"], importance)
    uncorrected, plain = evaluate(PolicyGradient(), policy, rollouts.put_actions(logprob=proximal))
    torch.testing.assert_close(loss, uncorrected * importance)
    assert torch.equal(readings["ratio"], plain["ratio"])


def test_against_the_weights_at_the_start_of_the_update_whoever_sampled():
    rollouts, policy = prepared([3, 2], drift=0.1)
    rollouts = rollouts.put_actions(proximal=rollouts.actions.logprob - 0.2)
    loss, readings = evaluate(PolicyGradient(old="proximal"), policy, rollouts)
    expected, _ = evaluate(PolicyGradient(), policy, rollouts.put_actions(logprob=rollouts.actions.proximal))
    assert torch.equal(loss, expected) and "importance" not in readings
    unknown = rollouts.put_actions(logprob=torch.full((5,), torch.nan))
    assert torch.equal(evaluate(PolicyGradient(old="proximal"), policy, unknown)[0], loss)


def old_and_new(beh=(0.25, 0.4, 0.6), prox=(0.5, 0.2, 0.6), advantage=1.5):
    """APRIL's worked example: three tokens of one rollout, sampled by `beh`, trained at `prox`."""
    rollouts = chains([3]).put_actions(
        logprob=torch.tensor(beh, dtype=torch.float64).log(),
        proximal=torch.tensor(prox, dtype=torch.float64).log(),
        advantage=torch.full((3,), advantage, dtype=torch.float64),
    )
    pairs = torch.tensor(prox, dtype=torch.float64)
    logits = torch.stack([pairs, 1 - pairs], 1).log()
    return rollouts.put_actions(token=torch.zeros(3, dtype=torch.long)), ToyPolicy(logits)


@pytest.mark.parametrize(("cap", "mean"), [(2.0, -1.75), (1.5, -1.5), (1.0, -1.25)])
def test_worked_truncated_importance(cap, mean):
    rollouts, policy = old_and_new()
    loss, readings = evaluate(PolicyGradient(importance_cap=cap), policy, rollouts)
    assert loss.mean().item() == pytest.approx(mean, abs=1e-6)
    assert readings["ratio"].tolist() == pytest.approx([1, 1, 1])
    assert readings["importance"].tolist() == pytest.approx([min(2, cap), 0.5, 1])
    assert readings["importance_capped"].tolist() == [float(cap < 2), 0, 0]


def test_worked_masked_prefix_and_no_correction():
    rollouts, policy = old_and_new()
    at_start = rollouts.put_actions(logprob=rollouts.actions.proximal)  # recompute: the prefix passes for new
    assert evaluate(PolicyGradient(), policy, at_start)[0].mean().item() == pytest.approx(-1.5)
    masked = rollouts.put_actions(version=torch.tensor([3, 3, 4])).put_facts(version=4)
    masked = Stale()(masked)
    assert masked.actions.share.tolist() == [0, 0, 1]
    loss = evaluate(PolicyGradient(), policy, masked)[0]
    weight = weights(masked, "action")
    assert (loss * weight).sum().item() == pytest.approx(-1.5) and weight.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("advantage", "expected"), [(1.5, [-1.92, -0.75, -1.5]), (-1.5, [3.0, 1.2, 1.5])], ids=["up", "down"]
)
def test_worked_bypass_clips_staleness_and_update_together(advantage, expected):
    rollouts, policy = old_and_new(advantage=advantage)
    loss, _ = evaluate(PolicyGradient(clip_high=0.28), policy, rollouts)
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)


def test_fresh_tokens_weigh_one_and_all_corrections_agree():
    rollouts, policy = prepared([3, 2, 4])
    rollouts = rollouts.put_actions(proximal=rollouts.actions.logprob)
    corrected, readings = evaluate(PolicyGradient(importance_cap=2.0), policy, rollouts)
    assert readings["importance"].eq(1).all() and readings["importance_capped"].eq(0).all()
    torch.testing.assert_close(corrected, evaluate(PolicyGradient(), policy, rollouts)[0], rtol=0, atol=1e-6)


def test_a_mixture_of_versions_corrected_token_by_token_has_no_bias():
    """The weights change after the first of two tokens: the sum of mu * weights * f is the mean under pi."""
    mu = {(0, 0): (0.7, 0.4), (0, 1): (0.7, 0.6), (1, 0): (0.3, 0.5), (1, 1): (0.3, 0.5)}
    pi = {(0, 0): (0.5, 0.2), (0, 1): (0.5, 0.8), (1, 0): (0.5, 0.9), (1, 1): (0.5, 0.1)}
    value = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): -2.0, (1, 1): 5.0}
    corrected = uncorrected = 0.0
    for pair, f in value.items():
        sampled, proximal = (torch.tensor(law[pair], dtype=torch.float64).log() for law in (mu, pi))
        weight, _ = importance_weights(proximal, sampled, cap=100.0)
        chance = float(sampled.exp().prod())
        corrected, uncorrected = corrected + chance * float(weight.prod()) * f, uncorrected + chance * f
    assert corrected == pytest.approx(0.65) and uncorrected == pytest.approx(1.99)


def test_a_token_the_newest_law_leaves_out_has_weight_zero_and_no_nan():
    rollouts, _ = old_and_new(prox=(0.5, 0.2, 0.6))
    rollouts = rollouts.put_actions(
        proximal=torch.tensor([math.log(0.5), -math.inf, math.log(0.6)], dtype=torch.float64)
    )
    logits = torch.tensor([[0.0, 0.0], [-math.inf, 0.0], [0.4, 0.0]], dtype=torch.float64)
    policy = ToyPolicy(logits)
    loss, readings = evaluate(PolicyGradient(importance_cap=2.0), policy, rollouts)
    assert loss.isfinite().all() and readings["importance"][1] < 1e-8
    gradient = policy.gradient(
        PolicyGradient(importance_cap=2.0), rollouts, [torch.arange(3)], weights(rollouts, "action")
    )
    assert gradient[1].eq(0).all() and gradient[0].isfinite().all() and gradient[0].ne(0).any()


def test_reads_depend_on_the_options():
    assert declared(PolicyGradient(), "reads") == ("actions.advantage", "actions.logprob")
    assert declared(PolicyGradient(old="proximal"), "reads") == ("actions.advantage", "actions.proximal")
    assert "actions.proximal" in declared(PolicyGradient(importance_cap=2), "reads")


def test_no_verdict_is_no_loss_and_no_gradient():
    rollouts, policy = prepared([2, 2], drift=0.1)
    advantage = rollouts.actions.advantage.clone()
    advantage[:2] = math.nan
    rollouts = rollouts.put_actions(advantage=advantage)
    gradient = policy.gradient(PolicyGradient(), rollouts, [torch.arange(4)], weights(rollouts, "action"))
    assert gradient[:2].eq(0).all() and gradient[2:].isfinite().all() and gradient[2:].ne(0).any()


def test_a_wild_ratio_stays_a_number():
    rollouts, policy = prepared([2])
    for advantage in (0.0, 1.0, -1.0):
        far = rollouts.put_actions(logprob=torch.full((2,), -1e4), advantage=torch.full((2,), advantage))
        loss, _ = evaluate(PolicyGradient(), policy, far)
        assert loss.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": "constant"}, "constant_length belongs to mean='constant'"),
        ({"constant_length": 10}, "constant_length belongs to mean='constant'"),
        ({"dual_clip": 1.1}, r"exceed 1 \+ clip_high = 1.2, got 1.1"),
        ({"clip_low": 1.5}, "less than or equal to 1"),
        ({"clip_high": -0.1}, "greater than or equal to 0"),
        ({"importance_cap": 0}, "greater than 0"),
        ({"ratio": "rollout"}, "'token' or 'sequence'"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        PolicyGradient(**options)
