"""EntropyBonus: a step along minus its gradient raises the entropy."""

import math

import pytest
import torch

from oneloop.update.averaging import weights
from oneloop.update.objective.entropy_bonus import EntropyBonus
from tests.support.toy import ToyPolicy, chains


def test_value_and_direction():
    rollouts = chains([2, 1])
    everything = torch.arange(3)
    uniform = ToyPolicy(torch.zeros(3, 5, dtype=torch.float64))
    loss, readings = EntropyBonus(coefficient=0.1)(uniform.at(rollouts, everything), rollouts, everything)
    assert loss.tolist() == pytest.approx([-0.1 * math.log(5)] * 3)
    assert readings["entropy"].tolist() == pytest.approx([math.log(5)] * 3)
    policy = ToyPolicy.random(rollouts)
    gradient = policy.gradient(
        EntropyBonus(coefficient=1), rollouts, [everything], weights(rollouts, "action")
    )
    before = policy.at(rollouts, everything).entropy
    after = ToyPolicy(policy.logits.detach() - 1e-3 * gradient).at(rollouts, everything).entropy
    assert (after > before).all()
    rise = (after - before).sum().item()
    assert rise == pytest.approx(3 * 1e-3 * gradient.square().sum().item(), rel=1e-2)
