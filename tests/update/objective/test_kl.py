"""Kl: worked numbers of the three estimators, and what their gradients are gradients of."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.declared import declared
from oneloop.update.averaging import action_weights
from oneloop.update.objective.kl import Kl, kl_estimate, kl_loss
from tests.support.toy import ToyPolicy, chains

rows = st.lists(st.floats(-3, 3), min_size=4, max_size=4).map(lambda z: torch.tensor(z, dtype=torch.float64))


@pytest.mark.parametrize(
    ("estimator", "expected"), [("k1", -0.5), ("k2", 0.125), ("k3", math.exp(0.5) - 1.5)]
)
def test_worked_numbers(estimator, expected):
    measured = kl_estimate(torch.tensor([-1.5]).double(), torch.tensor([-1.0]).double(), estimator)
    assert measured.item() == pytest.approx(expected, abs=1e-12)
    assert kl_estimate(torch.tensor([-1.0]), torch.tensor([-1.0]), estimator).item() == 0


@given(rows, rows)
def test_values_and_gradients(now, reference):
    """Expectations over the present policy, by enumeration: what the head of kl.py claims."""
    ref = reference.log_softmax(-1)

    def expectation(estimator, unbiased=False):
        """Of the part's own loss at every token, each as often as the present policy says it."""
        rollouts = chains([1] * 4).put_actions(token=torch.arange(4))
        policy = ToyPolicy(now.expand(4, 4), ref)
        rollouts = policy.sampled(rollouts)
        everything = torch.arange(4)
        part = Kl(coefficient=1, estimator=estimator, unbiased=unbiased)
        loss, readings = part(policy.at(rollouts, everything), rollouts, everything)
        p = policy.logits.detach().softmax(-1)[0]
        (p * loss).sum().backward()
        return (p * readings["kl"]).sum().item(), policy.logits.grad.sum(0)

    z = now.clone().requires_grad_()
    p = z.log_softmax(-1)
    forward, backward = (p.exp() * (p - ref)).sum(), (ref.exp() * (ref - p)).sum()
    (forward_gradient,) = torch.autograd.grad(forward, z, retain_graph=True)
    (backward_gradient,) = torch.autograd.grad(backward, z)
    k1, k1_gradient = expectation("k1")
    _, k2_gradient = expectation("k2")
    k3, k3_gradient = expectation("k3")
    assert k1 == pytest.approx(forward.item(), abs=1e-9) and k3 == pytest.approx(forward.item(), abs=1e-9)
    zero = torch.zeros_like(k1_gradient)
    for measured, expected in (
        (k1_gradient, zero),
        (k2_gradient, forward_gradient),
        (k3_gradient, backward_gradient),
    ):
        torch.testing.assert_close(measured, expected, rtol=0, atol=1e-9)
    for estimator in ("k1", "k2", "k3"):
        _, measured = expectation(estimator, unbiased=True)
        torch.testing.assert_close(measured, forward_gradient, rtol=0, atol=1e-9)


@given(rows, rows, rows)
def test_unbiased_has_the_gradient_of_the_kl_whichever_weights_sampled(now, reference, sampler):
    """By enumeration of every token, each as often as the sampling law says it."""
    ref, sampled = reference.log_softmax(-1), sampler.log_softmax(-1)
    z = now.clone().requires_grad_()
    p = z.log_softmax(-1)
    kl = (p.exp() * (p - ref)).sum()
    (expected,) = torch.autograd.grad(kl, z, retain_graph=True)
    for estimator in ("k1", "k2", "k3"):
        loss = (sampled.exp() * kl_loss(p, ref, sampled, estimator)).sum()
        (measured,) = torch.autograd.grad(loss, z, retain_graph=True)
        torch.testing.assert_close(measured, expected, rtol=0, atol=1e-9)
        if estimator != "k2":
            assert loss.item() == pytest.approx(kl.item(), abs=1e-9)


def test_worked_gradient_of_k2():
    """p = softmax(2, 0, -2, .5) against the uniform law: with a gradient through w it would be another."""
    z = torch.tensor([2.0, 0.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    ref, p = torch.full((4,), math.log(0.25), dtype=torch.float64), z.log_softmax(-1)
    (true,) = torch.autograd.grad((p.exp() * (p - ref)).sum(), z, retain_graph=True)
    loss = (p.detach().exp() * kl_loss(p, ref, p.detach(), "k2")).sum()
    (measured,) = torch.autograd.grad(loss, z, retain_graph=True)
    (other,) = torch.autograd.grad((p.exp() * (p - ref).square() / 2).sum(), z)
    torch.testing.assert_close(measured, true, rtol=0, atol=1e-12)
    assert (other - true).abs().max() > 0.05


@given(st.floats(-1e6, 0), st.floats(-1e6, 0))
def test_k3_is_never_negative_nor_infinite(logprob, reference):
    value = kl_estimate(torch.tensor([logprob]), torch.tensor([reference]), "k3").item()
    assert 0 <= value < math.inf


@pytest.mark.parametrize("gap", [1e-2, -1e-3, 1e-4])
def test_k3_of_a_small_gap_is_half_its_square_in_fp32(gap):
    value = kl_estimate(torch.tensor([gap]), torch.tensor([0.0]), "k3").item()
    assert value == pytest.approx(gap**2 / 2 - gap**3 / 6, rel=1e-2)


def test_it_asks_for_the_reference_and_for_sampling_logprobs_only_if_it_needs_them():
    assert declared(Kl(), "reads") == ("actions.reference", "actions.logprob")
    assert declared(Kl(unbiased=False), "reads") == ("actions.reference",)


def test_the_part_scales_and_averages_over_all_actions_by_default():
    rollouts = chains([2, 3]).put_actions(share=torch.tensor([0.0, 0, 1, 1, 1]))
    policy = ToyPolicy.random(rollouts)
    everything = torch.arange(5)
    for part, count in (
        (Kl(coefficient=0.1, unbiased=False), 5),
        (Kl(coefficient=0.1, unbiased=False, where="kept"), 3),
    ):
        loss, readings = part(policy.at(rollouts, everything), rollouts, everything)
        torch.testing.assert_close(loss.detach(), 0.1 * readings["kl"])
        weight = action_weights(part, rollouts)
        assert int((weight > 0).sum()) == count and weight.sum().item() == pytest.approx(1)
