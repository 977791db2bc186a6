"""A group of hundreds: slots and micro-batches are matters of memory, not of what is sampled or learned."""

import pytest
import torch

from oneloop.credit.group_relative import GroupRelative
from oneloop.update.learner import Learner, Learning
from oneloop.update.objective.policy_gradient import PolicyGradient
from tests.sample.policies.conftest import agree, asked, everything, gradients, rounding
from tests.support.rounding import relative, room

N = 256


def sampled(policy):
    """N rollouts of one prompt and N of another; those whose first token has an odd number are right."""
    finished, unfinished = policy.sample(asked(["ab", "hello"], n=N))
    assert len(unfinished) == 0 and len(finished) == 2 * N
    starts = finished.actions.token[finished.depth == 0]
    return finished.put(reward=(starts % 2).double())


def test_sampling_does_not_depend_on_slots(opened):
    whole = sampled(opened(max_new_tokens=6, slots=2 * N))
    for slots in (37, 128):
        policy = opened(max_new_tokens=6, slots=slots)
        cut = sampled(policy)
        assert torch.equal(cut.actions.token, whole.actions.token) and cut.status == whole.status
        agree(policy, whole, whole.actions.logprob, cut.actions.logprob)
        assert torch.equal(cut.reward, whole.reward)


def test_log_probs_and_gradients_do_not_depend_on_the_micro_batch(opened):
    policy = opened(max_new_tokens=6)
    finished = sampled(policy)
    whole = gradients(policy, finished, [torch.arange(len(finished.actions))])
    for budget in (150, 1500):
        pieces = list(policy.batches(finished, everything(finished), budget))
        assert len(pieces) > 1
        assert relative(gradients(policy, finished, pieces), whole) < rounding(policy)
        found = torch.empty(len(finished.actions))
        for piece in pieces:
            with torch.no_grad():
                found[piece] = policy.at(finished, piece).logprob
        agree(policy, finished, finished.actions.logprob, found)


def flat(tensors):
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])


def step(policy, finished, tokens, moved=lambda model: model):
    """(learner, its weights after one step, the gradient that Adam was given), from weights `moved` first."""
    moved(policy.model)
    options = Learning(learning_rate=1e-3, base_batch=64, tokens_per_micro_batch=tokens)
    learner = Learner(policy, [PolicyGradient()], options, 1)
    given, take = [], learner.optimizer.step

    def noted(*arguments, **named):
        given.append(flat(learner.stepper.gradients()))
        return take(*arguments, **named)

    learner.optimizer.step = noted
    learner(GroupRelative(scale="whiten_actions", ddof=0)(finished))
    return learner, flat(learner.parameters), given[0]


def test_a_whole_step_is_the_same_for_any_micro_batch(opened):
    """Advantages are whitened before anything is cut, and the rate is that of 512 rollouts."""
    results = []
    for tokens in (10**6, 400):
        policy = opened(max_new_tokens=6)
        results.append(step(policy, sampled(policy), tokens))
    (first, weights, gradient), *others = results
    assert first.metrics["learning_rate"] == pytest.approx(1e-3 * 8**0.5)
    finished = sampled(opened(max_new_tokens=6))

    def loss(moved):
        return torch.tensor(step(opened(max_new_tokens=6), finished, 10**6, moved)[0].metrics["loss"])

    gap = room(loss)
    for learner, other, _ in others:
        bound = rounding(policy)  # norms differ by no more than the gradients do
        assert learner.metrics["grad_norm"] == pytest.approx(first.metrics["grad_norm"], rel=bound)
        assert learner.metrics["loss"] == pytest.approx(first.metrics["loss"], abs=gap)
        # Adam's first step is g / (|g| + eps), the sign of the gradient: it differs by half only where g is
        # no larger than its own error, clipping included, or than eps
        turned = (other - weights).abs() > first.metrics["learning_rate"] / 2
        error = 2 * bound * gradient.norm() + first.optimizer.defaults["eps"] * len(gradient) ** 0.5
        assert gradient[turned].norm() <= error
        assert gradient.norm() > 100 * error
