"""Elastic layers: the whole equals the plain layer to the bit, slices equal masks and the network cut out."""

import torch
from pytest import mark, raises
from torch import nn

from oneloop.models.supernet import (
    ALL,
    Architecture,
    ElasticConv2d,
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticRMSNorm,
    ElasticSelfAttention,
    Kept,
    SelfAttention,
    at,
    cut,
    keep,
    largest,
    mask,
)
from oneloop.models.supernet.elastic_norm import ElasticBatchNorm2d
from tests.models.supernet.networks import convolutions, ids, images, transformer
from tests.support.rounding import room

TRANSFORMERS: list[Architecture] = [
    {"width": 5, "depth": 2, "heads": 3, "hidden": 4},
    {"width": 1, "depth": 1, "heads": 1, "hidden": 1},
    {"width": 16, "depth": 0, "heads": 4, "hidden": 6},
    {"width": 7, "heads": 0, "hidden": 2},
    {"heads": 2, "hidden": 0},
    {},
]
CONVOLUTIONS: list[Architecture] = [
    {"channels": 2, "kernel": 1, "last": 3},
    {"channels": 5, "kernel": 3, "last": 1},
    {"kernel": 5},
    {},
]
CASES = [(transformer, ids, given) for given in TRANSFORMERS] + [
    (convolutions, images, given) for given in CONVOLUTIONS
]


LAYERS = (
    ElasticLinear,
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticRMSNorm,
    ElasticSelfAttention,
    ElasticConv2d,
    ElasticBatchNorm2d,
)


def masks_of(model: nn.Module, architecture: Architecture) -> dict[str, torch.Tensor]:
    """Masks of ones for the first units and zeros for the others."""
    return {
        name: (torch.arange(most) < architecture.get(name, most)).float()
        for name, most in largest(model).items()
    }


def plain_twin(layer: nn.Module) -> nn.Module:
    """torch's own layer with the weights of the elastic one."""
    if isinstance(layer, ElasticSelfAttention):
        parts = (plain_twin(part) for part in (layer.query, layer.key, layer.value, layer.output))
        return SelfAttention(*parts, layer.head_size, layer.causal)  # type: ignore[arg-type]
    makers = {
        ElasticLinear: lambda: nn.Linear(layer.in_features, layer.out_features),
        ElasticEmbedding: lambda: nn.Embedding(layer.num_embeddings, layer.embedding_dim),
        ElasticLayerNorm: lambda: nn.LayerNorm(layer.normalized_shape),
        ElasticRMSNorm: lambda: nn.RMSNorm(layer.normalized_shape, eps=layer.eps),
        ElasticBatchNorm2d: lambda: nn.BatchNorm2d(layer.num_features),
        ElasticConv2d: lambda: nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            groups=layer.groups,
            bias=layer.bias is not None,
        ),
    }
    made: nn.Module = makers[type(layer)]()
    made.load_state_dict(layer.state_dict())
    return made.train(layer.training)


@mark.parametrize(("made", "given"), [(transformer, ids), (convolutions, images)])
def test_all_kept_equals_the_plain_layer_to_the_bit(made, given):
    seen = 0

    def compare(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal seen
        seen += 1
        assert torch.equal(plain_twin(layer)(*inputs), output), layer

    model = made()
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            layer.register_forward_hook(compare)
    with torch.no_grad():
        whole = model(given())
        keep(model, largest(model))
        assert torch.equal(model(given()), whole)
    assert seen >= 10


@mark.parametrize(("made", "given", "architecture"), CASES)
def test_slice_mask_and_cut_agree(made, given, architecture):
    model, x = made(), given()
    with torch.no_grad():
        with at(model, architecture):
            sliced = model(x)
        mask(model, masks_of(model, architecture))
        near = room(lambda move: move(cut(model, architecture))(x))
        torch.testing.assert_close(model(x), sliced, rtol=0, atol=near)
        plain = cut(model, architecture)
        torch.testing.assert_close(plain(x), sliced, rtol=1e-6, atol=1e-6)
        views = cut(model, architecture, copies=False)
        torch.testing.assert_close(views(x), sliced, rtol=1e-6, atol=1e-6)
    assert not any(type(part).__name__.startswith("Elastic") for part in plain.modules())


@mark.parametrize(("made", "given", "architecture"), [CASES[0], CASES[6]])
def test_a_cut_keeps_names_dtype_and_mode_and_is_the_same_twice(made, given, architecture):
    model = made().double().train()
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    first, second = cut(model, architecture), cut(model, architecture)
    names = first.state_dict()
    assert names.keys() <= before.keys()
    assert names.keys() == second.state_dict().keys()
    for name, weight in names.items():
        assert torch.equal(weight, second.state_dict()[name])
        assert weight.dtype == before[name].dtype
        assert weight.data_ptr() != model.state_dict()[name].data_ptr()
        assert weight.is_contiguous()
    assert first.training
    assert not next(iter(first.parameters())).requires_grad
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_the_first_units_and_the_centre_of_the_kernel_are_kept():
    layer = ElasticConv2d(2, 3, 5, inputs=Kept("i"), outputs=Kept("o"), kernel="k")
    plain = cut(layer, {"i": 1, "o": 2, "k": 3})
    assert torch.equal(plain.weight, layer.weight[:2, :1, 1:4, 1:4])
    assert torch.equal(plain.bias, layer.bias[:2])
    assert (plain.padding, plain.in_channels, plain.out_channels) == ((1, 1), 1, 2)


def test_masked_features_do_not_change_the_statistics_of_a_norm():
    norm, x = ElasticLayerNorm(4, Kept("width")), torch.tensor([[1.0, 3.0, 0.0, 0.0]])
    mask(norm, {"width": torch.tensor([1.0, 1.0, 0.0, 0.0])})
    # mean 2 and variance 1 of the two that are kept
    torch.testing.assert_close(norm(x), torch.tensor([[-1.0, 1.0, 0.0, 0.0]]), rtol=0, atol=1e-5)


def test_what_is_left_out_gets_no_gradient_and_a_mask_gets_one():
    layer = ElasticLinear(3, 2, inputs=Kept("i"), outputs=Kept("o"))
    with at(layer, {"i": 2, "o": 1}):
        layer(torch.ones(1, 2)).sum().backward()
    assert layer.weight.grad.tolist() == [[1, 1, 0], [0, 0, 0]]
    assert layer.bias.grad.tolist() == [1, 0]
    weights = torch.tensor([1.0, 0.5], requires_grad=True)
    mask(layer, {"o": weights, "i": torch.ones(3)})
    output = layer(torch.ones(1, 3))
    output.sum().backward()
    torch.testing.assert_close(weights.grad, layer.project(torch.ones(1, 3))[0])


def test_shared_weights_are_shared_after_the_cut():
    model = nn.ModuleDict(
        {"in": ElasticEmbedding(5, 4, Kept("width")), "out": ElasticLinear(4, 5, False, inputs=Kept("width"))}
    )
    model["out"].weight = model["in"].weight
    small = cut(model, {"width": 2})
    assert small["out"].weight is small["in"].weight
    assert small["in"].weight.shape == (5, 2)


def test_at_restores_what_was_before_and_masks_too():
    model = transformer()
    keep(model, {"width": 3})
    with raises(RuntimeError, match="inside"), at(model, ALL):
        raise RuntimeError("inside")
    assert dict(model[0].present) == {"width": 3}
    mask(model, {"width": torch.ones(16)})
    with at(model, {"depth": 1}):
        assert not model[0].masks
    assert list(model[0].masks) == ["width"]


@mark.parametrize(
    ("architecture", "words"),
    [
        ({"widht": 3}, "follows the choice 'widht'; did you mean 'width'?"),
        ({"zzz": 3}, "it follows depth, heads, hidden, width"),
        ({"width": 17}, r"width: got 17, must be an integer in 0\.\.16"),
        ({"width": -1}, "width: got -1"),
        ({"width": 2.0}, r"width: got 2\.0, must be an integer"),
        ({"depth": True}, "depth: got True, must be an integer"),
    ],
)
def test_an_architecture_the_supernet_does_not_have_is_refused(architecture, words):
    with raises(ValueError, match=words):
        cut(transformer(), architecture)


def test_other_faults_are_said_in_words():
    with raises(ValueError, match=r"mask: width: got shape \[3\], must be \[16\]"):
        mask(transformer(), {"width": torch.ones(3)})
    with raises(ValueError, match="heads: got 3, must divide the width 16"):
        ElasticSelfAttention(16, 3, "heads")
    with raises(ValueError, match="kernel_size: got 4, must be odd"):
        ElasticConv2d(1, 1, 4)
    with raises(ValueError, match="as many outputs as inputs: got 2"):
        ElasticConv2d(2, 4, 3, depthwise=True)
    layer = ElasticLinear(4, 2, inputs=Kept("width"))
    with (
        raises(ValueError, match="got 4 features, the present architecture has 3 of 4 .choice 'width'"),
        at(layer, {"width": 3}),
    ):
        layer(torch.ones(1, 4))
    with raises(ValueError, match="kernel of 2, must be odd"):
        cut(convolutions(), {"kernel": 2})
