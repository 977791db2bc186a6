"""Every file in objective/: any cut into micro-batches gives the same gradient; one loss per action."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.declared import declared
from oneloop.core.rooms import build
from oneloop.update.averaging import action_weights, averaging
from tests.support.contract import assert_same, every_part, filled, snapshot
from tests.support.toy import ToyPolicy, chains, forest

VARIANTS = [
    build("objective", {"policy_gradient": options})
    for options in (
        {"ratio": "sequence", "mean": "rollout"},
        {"importance_cap": 2.0, "dual_clip": 3.0, "clip_high": 0.28},
        {"mean": "constant", "constant_length": 8, "over": "all"},
        {"mean": "group"},
    )
] + [
    build("objective", {"one_token": {"estimator": "exact"}}),
    build(
        "objective", {"one_token": {"baseline": "leave_one_out", "tempered_logprob": True, "mean": "rollout"}}
    ),
    build("objective", {"kl": {"estimator": "k2", "where": "kept"}}),
    build("objective", {"supervised": {"weigh": "probability"}}),
]
# what works on images alone is in test_flow_matching.py: it asks for a policy of images
PARTS = [part for part in every_part("objective") if "nats_per_dim" not in declared(part, "units")] + VARIANTS
parts = pytest.mark.parametrize(
    "part", PARTS, ids=[f"{i}-{type(part).__name__}" for i, part in enumerate(PARTS)]
)


def prepared(part, rollouts, seed=0):
    policy = ToyPolicy.random(rollouts, seed)
    rollouts = ToyPolicy.random(rollouts, seed + 1).sampled(rollouts)
    draw = torch.Generator().manual_seed(seed)
    share = (torch.rand(len(rollouts.actions), generator=draw) < 0.7).float()
    return filled(rollouts.put_actions(share=share), part), policy


def cut(part, rollouts, draw):
    """The wanted actions in random pieces; whole rollouts where the part asks for them."""
    wanted = torch.ones(len(rollouts.actions), dtype=torch.bool)
    units = rollouts.owner if averaging(part).whole else torch.arange(len(wanted))
    labels = sorted(set(units.tolist()))
    place = {unit: draw.randrange(3) for unit in labels}
    pieces = [[i for i in range(len(wanted)) if place[units[i].item()] == k] for k in range(3)]
    for piece in pieces:
        draw.shuffle(piece)
    return [torch.tensor(piece, dtype=torch.long) for piece in pieces if piece]


@parts
@given(seed=st.integers(0, 10**4), draw=st.randoms(use_true_random=False))
def test_any_cut_gives_the_same_gradient(part, seed, draw):
    rollouts = chains([3, 1, 0, 4, 2], seed=seed) if averaging(part).whole or seed % 2 else forest(seed)
    rollouts, policy = prepared(part, rollouts, seed)
    weight = action_weights(part, rollouts)
    whole = policy.gradient(part, rollouts, [torch.arange(len(weight))], weight)
    pieces = cut(part, rollouts, draw)
    torch.testing.assert_close(policy.gradient(part, rollouts, pieces, weight), whole, rtol=0, atol=1e-10)


@parts
def test_one_loss_and_readings_for_each_action_without_touching_the_input(part):
    rollouts, policy = prepared(part, chains([3, 1, 4, 2]))
    before = snapshot(rollouts)
    actions = torch.tensor([9, 8, 4, 5, 6, 7])
    loss, readings = part(policy.at(rollouts, actions), rollouts, actions)
    assert loss.shape == (6,) and loss.isfinite().all() and loss.requires_grad
    assert readings and all(reading.shape == (6,) for reading in readings.values())
    assert not any(reading.requires_grad for reading in readings.values())
    assert_same(before, snapshot(rollouts))


@parts
def test_what_is_not_wanted_has_no_gradient(part):
    rollouts, policy = prepared(part, chains([3, 1, 4, 2]))
    weight = action_weights(part, rollouts)
    gradient = policy.gradient(part, rollouts, [torch.arange(10)], weight)
    assert gradient[weight == 0].eq(0).all() and gradient[weight > 0].ne(0).any()


@parts
def test_the_gradient_is_that_of_the_loss_or_of_its_surrogate(part):
    """Each row of logits has a gradient that sums to zero: a probability cannot be pushed as a whole."""
    rollouts, policy = prepared(part, chains([3, 1, 4, 2]))
    gradient = policy.gradient(part, rollouts, [torch.arange(10)], action_weights(part, rollouts))
    assert gradient.sum(-1).abs().max() < 1e-12
