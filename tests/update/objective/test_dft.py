"""Dft: the gradient of minus the probability, and the exact one-token objective at temperature 1."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.update.averaging import weights
from oneloop.update.objective.dft import Dft
from oneloop.update.objective.one_token import OneToken
from tests.support.toy import ToyPolicy, chains


@given(st.integers(0, 999))
def test_gradient_is_that_of_minus_the_probability_and_of_exact_one_token(seed):
    rollouts = chains([3, 1, 2], seed=seed)
    policy = ToyPolicy.random(rollouts, seed)
    everything, weight = torch.arange(6), weights(rollouts, "action")
    measured = policy.gradient(Dft(), rollouts, [everything], weight)
    probability = policy.at(rollouts, everything).logprob.exp()
    (expected,) = torch.autograd.grad(-(weight * probability).sum(), policy.logits)
    torch.testing.assert_close(measured, expected, rtol=0, atol=1e-12)
    exact = OneToken(estimator="exact", temperature=1, wrong_reward=0)
    torch.testing.assert_close(
        policy.gradient(exact, rollouts, [everything], weight), measured, rtol=0, atol=1e-12
    )
