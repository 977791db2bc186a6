"""SquareAveraged: the worked example, TokenFLEX's own loss, micro-batches that change nothing."""

import pytest
import torch

from oneloop.models.flexible_vlm.loss import IGNORED, square_average_loss
from oneloop.update.averaging import action_weights
from oneloop.update.objective.square_averaged import SquareAveraged, square_root_shares
from tests.support.toy import ToyPolicy, chains


def loss_of(nll, rollouts):
    """What the learner adds up of losses `nll` [N]."""
    share = square_root_shares(rollouts.actions.share > 0, *rollouts.paths)
    return float((action_weights(SquareAveraged(), rollouts) * share * nll).sum())


def test_an_answer_of_four_tokens_weighs_twice_one_of_one():
    nll = torch.tensor([1.0, 1, 1, 1, 2], dtype=torch.float64)
    assert loss_of(nll, chains([4, 1])) == pytest.approx(4 / 3, abs=1e-12)
    left_out = chains([5, 1]).put_actions(share=torch.tensor([1.0, 1, 0, 1, 1, 1]))
    assert loss_of(torch.tensor([1.0, 1, 99, 1, 1, 2]), left_out) == pytest.approx(4 / 3, abs=1e-12)
    nothing = chains([2]).put_actions(share=torch.zeros(2))
    assert loss_of(torch.ones(2), nothing) == 0


def test_gradients_are_those_of_the_loss_for_other_trainers_however_they_are_cut():
    lengths = [1, 5, 2, 7]
    rollouts = chains(lengths, seed=3)
    policy, weight = ToyPolicy.random(rollouts, 3), action_weights(SquareAveraged(), rollouts)
    everything = torch.arange(sum(lengths))
    whole = policy.gradient(SquareAveraged(), rollouts, [everything], weight)
    cut = policy.gradient(SquareAveraged(), rollouts, [everything[:4], everything[4:]], weight)
    torch.testing.assert_close(whole, cut, rtol=0, atol=1e-12)
    longest = max(lengths) + 1  # the first token of a row has no label
    logits = torch.zeros(len(lengths), longest, policy.logits.shape[-1], dtype=torch.float64)
    labels = torch.full((len(lengths), longest), IGNORED)
    leaf = policy.logits.detach().requires_grad_()
    for row, (some, tokens) in enumerate(
        zip(leaf.split(lengths), rollouts.actions.token.split(lengths), strict=True)
    ):
        logits[row, : len(tokens)] = some
        labels[row, 1 : len(tokens) + 1] = tokens
    (wanted,) = torch.autograd.grad(square_average_loss(logits, labels), leaf)
    torch.testing.assert_close(whole, wanted, rtol=0, atol=1e-6)  # the other one computes in fp32
