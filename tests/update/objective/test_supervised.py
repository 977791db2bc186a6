"""Supervised: the token mean is torch's cross-entropy, its fixed point the demonstrations' law.

Weighed by the probability, the gradient is that of minus the probability."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.declared import declared
from oneloop.update.averaging import weights
from oneloop.update.objective.one_token import OneToken
from oneloop.update.objective.supervised import Supervised
from tests.support.toy import ToyPolicy, chains


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 999))
def test_token_mean_is_cross_entropy(lengths, seed):
    rollouts = chains(lengths, seed=seed)
    policy = ToyPolicy.random(rollouts, seed)
    everything = torch.arange(len(rollouts.actions))
    loss, readings = Supervised()(policy.at(rollouts, everything), rollouts, everything)
    assert torch.equal(readings["nll"], loss.detach())
    if len(everything):
        expected = torch.nn.functional.cross_entropy(policy.logits, rollouts.actions.token)
        torch.testing.assert_close((weights(rollouts, "action") * loss).sum(), expected)


def test_the_law_of_the_demonstrations_has_no_gradient():
    rollouts = chains([1] * 10).put_actions(token=torch.tensor([0] * 7 + [1] * 2 + [2]))
    law = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    policy = ToyPolicy(law.log().expand(10, 3))
    gradient = policy.gradient(Supervised(), rollouts, [torch.arange(10)], weights(rollouts, "action"))
    assert gradient.sum(0).abs().max() < 1e-12


@given(st.integers(0, 999))
def test_weighed_by_the_probability_the_gradient_is_that_of_minus_the_probability(seed):
    rollouts = chains([3, 1, 2], seed=seed)
    policy = ToyPolicy.random(rollouts, seed)
    everything, weight = torch.arange(6), weights(rollouts, "action")
    measured = policy.gradient(Supervised(weigh="probability"), rollouts, [everything], weight)
    probability = policy.at(rollouts, everything).logprob.exp()
    (expected,) = torch.autograd.grad(-(weight * probability).sum(), policy.logits)
    torch.testing.assert_close(measured, expected, rtol=0, atol=1e-12)
    exact = OneToken(estimator="exact", temperature=1, wrong_reward=0)
    torch.testing.assert_close(
        policy.gradient(exact, rollouts, [everything], weight), measured, rtol=0, atol=1e-12
    )


def test_a_density_is_no_probability():
    assert declared(Supervised(), "units") == ()
    assert declared(Supervised(weigh="probability"), "units") == ("nats", "discrete")
