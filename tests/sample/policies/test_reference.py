"""What a flow policy is compared with: frozen, moving, drawn beside it; edits that keep their source."""

import pytest
import torch

from oneloop.core.rooms import build
from oneloop.sample.policies.denoising.rendering import composite
from tests.support.rounding import room
from tests.support.trees import asked, policy


def shifted(flow, by=0.1):
    with torch.no_grad():
        for weight in flow.model.parameters():
            weight.add_(by)


def test_the_reference_has_weights_and_noise_of_its_own():
    flow = policy(noise="ode", beside_reference=True)
    before, _ = flow.sample(asked(2))
    assert (before["reference_output"] - before.output).abs().max() > 1e-3  # the same weights, other noise
    flow.keep_reference()
    shifted(flow)
    after, _ = flow.sample(asked(2))
    assert torch.equal(before["reference_output"], after["reference_output"])
    assert (before.output - after.output).abs().max() > 1e-3
    own = {weight.data_ptr() for weight in flow.model.parameters()}
    assert not own & {weight.data_ptr() for weight in flow.reference.weights.values()}
    assert not any(weight.requires_grad for weight in flow.reference.weights.values())


def drawn_beside(moved):
    flow = policy(beside_reference=True)
    moved(flow.model)
    return flow.sample(asked(3))[0]


def test_a_group_meets_one_image_of_the_reference_whatever_else_is_asked():
    flow = policy(beside_reference=True)
    rollouts, _ = flow.sample(asked(3))
    images = rollouts["reference_output"]
    assert torch.equal(images[:1].expand(3, -1, -1, -1), images[:3]) and not torch.equal(images[0], images[3])
    alone, _ = flow.sample(asked(3).take(torch.tensor([4])))
    gap = room(lambda moved: drawn_beside(moved)["reference_output"])
    torch.testing.assert_close(alone["reference_output"][0], images[4], atol=gap, rtol=0)
    assert "reference_output" not in policy().sample(asked(1))[0]


@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_a_moving_reference_lags_by_u_decay_over_one_minus_decay(decay):
    flow = policy(reference_decay=decay)
    flow.keep_reference()
    start = [weight.clone() for weight in flow.model.parameters()]
    count = round(12 / (1 - decay))
    for _ in range(count):
        shifted(flow, 0.01)
        flow.updated()
    lag = [
        own - kept for own, kept in zip(flow.model.parameters(), flow.reference.weights.values(), strict=True)
    ]
    expected = 0.01 * decay / (1 - decay)
    for gap in lag:
        torch.testing.assert_close(gap, torch.full_like(gap, expected), rtol=2e-3, atol=1e-4)
    assert len(start) == len(lag)


def test_decay_zero_is_the_policy_and_one_stands_still():
    for decay in (0.0, 1.0):
        flow = policy(reference_decay=decay)
        flow.keep_reference()
        before = [weight.clone() for weight in flow.reference.weights.values()]
        shifted(flow)
        flow.updated()
        wanted = list(flow.model.parameters()) if decay == 0 else before
        for kept, weight in zip(flow.reference.weights.values(), wanted, strict=True):
            torch.testing.assert_close(kept, weight.detach())


def test_the_reference_comes_back_from_disk(tmp_path):
    flow = policy(reference_decay=0.5)
    flow.keep_reference()
    shifted(flow)
    flow.updated()
    flow.save(tmp_path)
    other = policy(reference_decay=0.5)
    other.restore(tmp_path, flow.state_dict())
    for name, weight in flow.reference.weights.items():
        assert torch.equal(weight, other.reference.weights[name])


def test_outside_of_the_mask_the_source_stays_and_has_no_gradient():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, 1:3] = 1
    source = torch.rand(1, 1, 4, 4)
    picture = torch.cat([source * (1 - mask), mask], 1) * 2 - 1
    images = torch.rand(1, 1, 4, 4, requires_grad=True)
    whole = composite(images, {"picture": picture})
    torch.testing.assert_close(whole[mask == 0], source[mask == 0])
    assert torch.equal(whole[mask == 1], images[mask == 1])
    whole.sum().backward()
    assert torch.equal(images.grad, mask)
    with pytest.raises(
        ValueError, match="needs a condition of 2 channels .* got 0; set the model's condition_channels"
    ):
        composite(images, {})


def test_sampled_edits_keep_their_source():
    model = {"flow_mlp": {"hidden_size": 16, "layers": 1, "condition_channels": 2}}
    flow = build("policy", {"flow": {"model": model, "steps": 4, "noise": "ode", "composite": True}}).open()
    data = build("data", {"edits": {"of": "digits", "task": "fill"}})
    rows = asked(1).put(example=[data[0], data[1]])
    rollouts, _ = flow.sample(rows)
    for image, row in zip(rollouts.output.numpy(), rows.example, strict=True):
        kept = row["mask"] == 0
        # to [-1, 1] and back again: three operations on numbers of at most 2, a half ulp of 2 each
        assert abs(image[kept] - row["source"][kept]).max() <= 3 * 2.0**-23
