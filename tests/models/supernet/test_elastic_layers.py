"""Each elastic layer on numbers that can be followed by hand, and what a cut keeps of it."""

import torch
from pytest import approx, mark, raises
from torch import nn

from oneloop.models.supernet import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticDepth,
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticResidual,
    ElasticRMSNorm,
    Kept,
    at,
    cut,
    keep,
    largest,
    mask,
)

WIDTH = Kept("width")


def test_a_norm_of_two_of_four_features_is_that_of_the_two_alone():
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    root = ElasticRMSNorm(4, WIDTH, eps=0.0, dtype=torch.float64)
    with at(root, {"width": 2}):
        assert root(x)[0].tolist() == approx([3 / 12.5**0.5, 4 / 12.5**0.5])
    layer = ElasticLayerNorm(4, WIDTH, eps=0.0, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, 3, 5, 7]))
        layer.bias.copy_(torch.tensor([0.5, 0, 9, 9]))
    with at(layer, {"width": 2}):
        assert layer(x)[0].tolist() == approx([2 * -1 + 0.5, 3 * 1])
        small = cut(layer, {"width": 2})
    assert small(x)[0].tolist() == approx([-1.5, 3.0]) and small.normalized_shape == (2,)


def test_a_mask_between_0_and_1_weighs_the_statistics():
    norm = ElasticLayerNorm(3, WIDTH, eps=0.0, dtype=torch.float64)
    mask(norm, {"width": torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64)})
    x = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    mean = (1 + 2 + 3) / 2.5
    spread = ((1 - mean) ** 2 + (2 - mean) ** 2 + 0.5 * (6 - mean) ** 2) / 2.5
    wanted = [(1 - mean) / spread**0.5, (2 - mean) / spread**0.5, 0.5 * (6 - mean) / spread**0.5]
    assert norm(x).tolist() == approx(wanted)


@mark.parametrize("momentum", [0.1, None])
def test_running_statistics_of_kept_channels_alone_move_as_torch_moves_them(momentum):
    norm, plain = ElasticBatchNorm2d(3, WIDTH, momentum=momentum), nn.BatchNorm2d(2, momentum=momentum)
    keep(norm, {"width": 2})
    for seed in range(3):
        x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(seed)) + seed
        assert torch.equal(norm(x), plain(x))
    assert torch.equal(norm.running_mean[:2], plain.running_mean)
    assert torch.equal(norm.running_var[:2], plain.running_var)
    assert (norm.running_mean[2], norm.running_var[2]) == (0, 1)
    small = cut(norm, {"width": 2})
    assert small.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in small.state_dict().items())


def test_norms_without_weights_or_statistics_can_be_cut():
    bare = nn.Sequential(
        ElasticBatchNorm2d(4, WIDTH, affine=False, track_running_stats=False),
        ElasticBatchNorm2d(4, WIDTH, affine=False),
    )
    small, x = cut(bare, {"width": 2}), torch.arange(16.0).view(2, 2, 2, 2)
    keep(bare, {"width": 2})
    assert torch.equal(small(x), bare(x))
    assert set(small.state_dict()) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    norms = nn.Sequential(
        ElasticLayerNorm(4, WIDTH, elementwise_affine=False),
        ElasticRMSNorm(4, WIDTH, elementwise_affine=False),
    )
    small = cut(norms, {"width": 3})
    keep(norms, {"width": 3})
    assert torch.equal(small(torch.arange(3.0)), norms(torch.arange(3.0))) and not small.state_dict()


def test_a_kernel_is_weighed_ring_by_ring():
    layer = ElasticConv2d(1, 1, 5, bias=False, kernel="kernel")
    nn.init.ones_(layer.weight)
    assert largest(layer) == {"kernel": 5}
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 3, 3] = 1
    mask(layer, {"kernel": torch.tensor([1.0, 0.5, 0.5, 0.25, 0.25])})
    rings = torch.full((7, 7), 0.0)
    rings[1:6, 1:6], rings[2:5, 2:5], rings[3, 3] = 0.25, 0.5, 1.0
    assert torch.equal(layer(image)[0, 0], rings)
    for size in (1, 3, 5):
        with at(layer, {"kernel": size}):
            assert int(layer(image).sum()) == size**2
        assert cut(layer, {"kernel": size}).padding == (size // 2, size // 2)


def test_depth_is_the_first_blocks_and_a_branch_of_nothing_is_the_identity():
    blocks: list[nn.Module] = [ElasticLinear(2, 2, bias=False) for _ in range(3)]
    for number, block in enumerate(blocks, 2):
        nn.init.eye_(block.weight).data.mul_(number)
    stack, x = ElasticDepth(blocks, "depth"), torch.ones(2)
    for depth, factor in enumerate([1.0, 2.0, 6.0, 24.0]):
        with at(stack, {"depth": depth}):
            assert stack(x).tolist() == [factor, factor]
        assert cut(stack, {"depth": depth})(x).tolist() == [factor, factor]
        assert len(cut(stack, {"depth": depth})) == depth
    mask(stack, {"depth": torch.tensor([1.0, 0.5, 0.0])})
    assert stack(x).tolist() == [4.0, 4.0]  # half way from 2 to 6
    body = ElasticLinear(2, 2, outputs=None)
    residual = ElasticResidual(body, "units", 4)
    assert isinstance(cut(residual, {"units": 0}), nn.Identity)
    with at(residual, {"units": 0}):
        assert residual(x) is x
    assert torch.equal(cut(residual, {"units": 3})(x), x + body(x))


def test_an_embedding_and_its_head_stay_one_weight_and_padding_stays_padding():
    model = nn.ModuleDict(
        {"in": ElasticEmbedding(5, 4, WIDTH, padding_idx=1), "out": ElasticLinear(4, 5, False, inputs=WIDTH)}
    )
    model["out"].weight = model["in"].weight
    small = cut(model, {"width": 3})
    assert small["in"].weight is small["out"].weight and small["in"].padding_idx == 1
    small["in"](torch.tensor([1, 2])).sum().backward()
    assert small["in"].weight.grad.sum(1).tolist() == [0, 0, 3, 0, 0]
    views = cut(model, {"width": 3}, copies=False)
    with torch.no_grad():
        model["in"].weight[0, 0] = 42
    assert views["in"].weight[0, 0] == 42 and small["in"].weight[0, 0] != 42


@mark.parametrize("option", [{"dilation": 2}, {"padding_mode": "circular"}, {"groups": 2}])
def test_options_of_a_convolution_that_would_be_ignored_are_refused(option):
    with raises(TypeError, match=f"unexpected keyword argument '{next(iter(option))}'"):
        ElasticConv2d(2, 2, 3, **option)


@mark.parametrize("option", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}])
def test_options_of_an_embedding_that_would_be_ignored_are_refused(option):
    with raises(TypeError, match=f"unexpected keyword argument '{next(iter(option))}'"):
        ElasticEmbedding(5, 4, WIDTH, **option)
