"""The sandwich step, statistics of batch norms, and costs against torch's counter."""

import torch
from pytest import approx, mark, raises
from torch import nn

from oneloop.models.supernet import Choice, ElasticLinear, Kept, Product, SearchSpace, at, cut, keep
from oneloop.models.supernet.flops import check_costs, multiply_adds
from oneloop.models.supernet.recalibration import accuracy, recalibrate
from oneloop.models.supernet.sandwich import distillation, sandwich
from tests.models.supernet.networks import convolutions, ids, images, transformer


def test_distillation_of_the_worked_example():
    teacher = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    student = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = distillation(student, teacher)
    loss.backward()
    assert loss.item() == approx(0.9040048702)
    assert student.grad[0].tolist() == approx([-0.42147594, 0.3081236, 0.11335234])
    assert teacher.grad is None
    assert distillation(teacher, teacher).item() == approx(0.5242666167)


def test_a_sandwich_sums_the_gradients_of_its_networks():
    model = nn.Sequential(
        ElasticLinear(3, 6, outputs=Kept("w")), nn.ReLU(), ElasticLinear(6, 4, inputs=Kept("w"))
    )
    inputs, labels = torch.randn(5, 3), torch.arange(5) % 4
    losses = sandwich(model, inputs, labels, [{"w": 3}, {"w": 1}])
    got = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    teacher = model(inputs)
    loss = nn.functional.cross_entropy(teacher, labels)
    assert losses["largest"] == approx(loss.item())
    for width in (3, 1):
        with at(model, {"w": width}):
            loss = loss + nn.functional.cross_entropy(model(inputs), teacher.detach().softmax(-1))
    loss.backward()
    for weight, gradient in zip(model.parameters(), got, strict=True):
        torch.testing.assert_close(weight.grad, gradient)
    assert losses["others"] == approx((loss.item() - losses["largest"]) / 2, rel=1e-5)
    with raises(ValueError, match="others: got none"):
        sandwich(model, inputs, labels, [])


def test_statistics_are_those_of_the_network_cut_out():
    model, architecture = convolutions(), {"channels": 3, "kernel": 3}
    batches = [images() + shift for shift in range(3)]
    labelled = [(batch, torch.tensor([0, 1])) for batch in batches]
    with raises(ValueError, match="call `recalibrate` first"):
        accuracy(model, architecture, labelled)
    assert 0 <= accuracy(model, architecture, labelled, allow_other_statistics=True) <= 1
    recalibrate(model, architecture, batches)
    plain = cut(model, architecture)
    with torch.no_grad():
        seen = torch.stack([plain[0](batch).mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(plain[1].running_mean, seen)
    right = sum(int((plain(batch).argmax(-1) == labels).sum()) for batch, labels in labelled)
    assert accuracy(model, architecture, iter(labelled)) == approx(right / 6)
    with raises(ValueError, match="are not those of {'channels': 2}"):
        accuracy(model, {"channels": 2}, labelled)
    keep(model, architecture)
    model.train()(images())
    with raises(ValueError, match="call `recalibrate` first"):
        accuracy(model, architecture, labelled)
    with raises(ValueError, match="got no batches"):
        recalibrate(model, architecture, [])
    with raises(ValueError, match="got no batches"):
        accuracy(model, architecture, [], allow_other_statistics=True)


def spaces() -> dict[str, tuple[nn.Module, torch.Tensor, SearchSpace, list[dict[str, int]]]]:
    """Networks, an example, their costs in multiply-adds, and architectures."""
    length, width, size = 5, "width", 4
    attention = [Product(4 * size * length, ("depth", "heads", width))]
    attention += [Product(2 * length**2 * size, ("depth", "heads"))]
    language = SearchSpace(
        Choice("width", (4, 16)),
        Choice("depth", (0, 1, 3)),
        Choice("heads", (1, 4)),
        Choice("hidden", (2, 6)),
        products=(
            *attention,
            Product(4 * length, ("depth", width, "hidden")),
            Product(3 * length, (width,)),
        ),
    )
    vision = SearchSpace(
        Choice("channels", (2, 6)),
        Choice("kernel", (1, 3, 5)),
        Choice("last", (1, 4)),
        products=(
            Product(64, ("channels", "kernel", "kernel")),
            Product(9 * 16, ("channels",)),
            Product(16, ("channels", "last")),
            Product(3, ("last",)),
        ),
    )
    return {
        "language": (
            transformer(),
            ids()[:1],
            language,
            [
                {"width": 4, "depth": 1, "heads": 4, "hidden": 2},
                {"width": 16, "depth": 3, "heads": 1, "hidden": 6},
            ],
        ),
        "vision": (
            convolutions(),
            images()[:1],
            vision,
            [{"channels": 2, "kernel": 3, "last": 1}, {"channels": 6, "kernel": 5, "last": 4}],
        ),
    }


@mark.parametrize("kind", ["language", "vision"])
def test_costs_are_those_that_torch_counts(kind):
    model, example, space, architectures = spaces()[kind]
    for architecture in architectures:
        assert space.cost(architecture) == multiply_adds(cut(model, architecture), example)
    check_costs(model, space, architectures, example)
    wrong = SearchSpace(*space.choices.values(), products=space.products[1:])
    with raises(ValueError, match=r"costs \d+ multiply-adds, torch counts \d+"):
        check_costs(model, wrong, architectures[:1], example)
