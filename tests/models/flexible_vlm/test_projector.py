"""The projector of TokenFLEX: worked examples and identities of its pooling and its gated layers."""

import pytest
import torch

from oneloop.models.flexible_vlm.projector import TokenAdaptiveProjector, parameters_of, pool, side_of


def features(side, width=3, seed=0):
    return torch.randn(2, side * side, width, generator=torch.Generator().manual_seed(seed)).double()


def test_the_ramp():
    ramp = torch.tensor([0.0, 3.0, 6.0]).double().repeat(3)[None, :, None]
    assert pool(ramp, 4).flatten().tolist() == pytest.approx([1, 5, 1, 5], abs=1e-12)
    assert pool(ramp, 4, "adaptive").flatten().tolist() == pytest.approx([1.5, 4.5, 1.5, 4.5], abs=1e-12)


@pytest.mark.parametrize("tokens", [9 * 9, 27 * 27])
def test_where_n_divides_the_side_both_poolings_are_one(tokens):
    assert torch.allclose(pool(features(27), tokens), pool(features(27), tokens, "adaptive"), atol=1e-12)


@pytest.mark.parametrize("tokens", [64, 144, 256])
def test_elsewhere_they_are_not(tokens):
    gap = (pool(features(27, 64), tokens) - pool(features(27, 64), tokens, "adaptive")).abs().max()
    assert gap > 0.3


@pytest.mark.parametrize("tokens", [1, 4, 9, 64, 144, 256, 576, 784])
def test_constant_features_stay_constant(tokens):
    made = pool(torch.full((1, 27 * 27, 2), 1.25).double(), tokens)
    assert made.shape == (1, tokens, 2) and torch.allclose(made, torch.tensor(1.25).double(), atol=1e-12)


def test_as_many_tokens_as_features_is_the_identity_and_pooling_nests():
    seen = features(16)
    assert torch.equal(pool(seen, 256), seen)
    assert torch.allclose(pool(pool(seen, 64), 16), pool(seen, 16), atol=1e-12)
    assert torch.allclose(pool(seen, 64).mean(1), seen.mean(1), atol=1e-12)


def test_more_tokens_than_features_are_resampled_and_a_grid_may_be_given():
    assert pool(features(27), 28 * 28).shape == (2, 784, 3)
    wide = torch.arange(8.0)[None, :, None]  # two rows of four
    assert pool(wide, 4, grid=(2, 4)).flatten().tolist() == [0.5, 2.5, 4.5, 6.5]


def test_the_gated_layers_by_hand():
    projector = TokenAdaptiveProjector(2, 1, 1, mlp_ratio=1).double()
    with torch.no_grad():
        projector.gate.weight.copy_(torch.eye(2))
        projector.up.weight.copy_(2 * torch.eye(2))
        projector.down.weight.fill_(1.0)
        for layer in (projector.gate, projector.up, projector.down):
            layer.bias.zero_()
        made = projector(torch.tensor([[[1.0, 3.0]]]).double())
    # LN(1, 3) = (-1, 1) c with c^2 = 1 / (1 + eps), in fp32; sigma(c) + sigma(-c) = 1:
    # SiLU(-c) * -2 c + SiLU(c) * 2 c = 2 c^2
    assert made.item() == pytest.approx(2 / (1 + 1e-5), abs=2 * torch.finfo(torch.float32).eps)


def test_each_token_may_be_shifted_and_scaled():
    projector, seen = TokenAdaptiveProjector(8, 4, 4).double(), 3 * features(2, 8)
    assert torch.allclose(projector(2.5 * seen + 1.5), projector(seen), atol=1e-4), (
        "but for eps of the normalisation"
    )


def test_weights_do_not_depend_on_the_number_of_tokens():
    assert parameters_of(1152, 2048) == 15_051_776
    assert parameters_of(1152, 3584) == 20_361_728
    assert parameters_of(1152, 1536) == 13_281_792
    few, many = TokenAdaptiveProjector(4, 4, 4), TokenAdaptiveProjector(4, 4, 256)
    assert few.state_dict().keys() == many.state_dict().keys()


def test_what_is_no_square_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="got 150, must be a square; nearest: 144 and 169"):
        side_of(150)
    for wrong in (0, -4, 2.0, True):
        with pytest.raises(ValueError, match="must be a positive square"):
            side_of(wrong)
    with pytest.raises(ValueError, match="577 features .* 576 would be, is there a class token"):
        pool(torch.zeros(1, 577, 2), 64)
    with pytest.raises(ValueError, match="grid: 3 x 3 is not the 16 features"):
        pool(torch.zeros(1, 16, 2), 4, grid=(3, 3))
    with pytest.raises(ValueError, match="pooling: got 'max'"):
        TokenAdaptiveProjector(4, 4, pooling="max")
