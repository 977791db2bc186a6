"""Recomputed blocks: the same gradient, with every block forwarded once more."""

import pytest
from torch import nn

from oneloop.parallel.ranks.blocks import blocks
from oneloop.sample.policies.tokens.recomputed import recompute_blocks
from tests.sample.policies.conftest import asked, everything, gradients, rounding
from tests.support.rounding import relative


@pytest.mark.parametrize(
    ("name", "options"), [("llama", {}), ("llama", {"lora": {"rank": 2}}), ("gpt2", {}), ("gemma2", {})]
)
def test_the_gradient_is_the_same_and_blocks_are_forwarded_twice(opened, name, options):
    found, forwarded = [], []
    for checkpointing in (False, True):
        policy = opened(name, checkpointing=checkpointing, **options)
        rollouts, _ = policy.sample(asked())
        layers, seen = blocks(policy.model), []
        for layer in layers:
            part = next(module for module in layer.modules() if isinstance(module, nn.Linear | nn.LayerNorm))
            part.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        found.append(gradients(policy, rollouts, [everything(rollouts).nonzero().squeeze(1)]))
        forwarded.append(len(seen) // len(layers))
    assert relative(found[1], found[0]) < rounding(policy)
    assert forwarded[1] == 2 * forwarded[0] > 0


def test_a_network_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"policy\.language\.checkpointing: Linear has no list of blocks"):
        recompute_blocks(nn.Linear(2, 2))
