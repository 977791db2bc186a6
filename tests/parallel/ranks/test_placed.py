"""A layer whose weights are DTensors computes what it computed: here on one rank, where parts are whole."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from oneloop.parallel.ranks.placed import Axes, Placed
from oneloop.parallel.ranks.planned import _lane


@pytest.fixture(scope="module")
def mesh():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield init_device_mesh("cpu", (1, 1))
    finally:
        dist.destroy_process_group()


DATA = (True, False)
"""The first axis cuts the batch, the second the weights."""


def placed(module, mesh, where, dtype=torch.float32):
    """`module` with its weights at `where`, and the forward that is put in its place."""
    for name, weight in list(module._parameters.items()):
        if weight is not None:
            there = where if name == "weight" else [Replicate()] * 2
            module._parameters[name] = nn.Parameter(distribute_tensor(weight.data, mesh, there))
    return Placed(module, Axes(mesh, DATA), dtype)


@pytest.fixture
def layer():
    made = nn.Linear(2, 3)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        made.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    return made


X = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
PRODUCT = [[-0.5, -1.0, -1.5], [2.5, 6.0, 9.5]]
"""X W^T + bias."""


@pytest.mark.parametrize(
    "cut", [[Replicate(), Shard(0)], [Shard(0), Replicate()], [Replicate(), Replicate()]]
)
def test_a_linear_layer_says_the_same_wherever_its_weight_lies(layer, mesh, cut):
    forward = placed(layer, mesh, cut)
    x = X.clone().requires_grad_()
    made = forward(x)
    assert type(made) is torch.Tensor and made.tolist() == PRODUCT
    made.sum().backward()
    assert x.grad.tolist() == [[9.0, 12.0]] * 2, "column sums of W"
    assert layer.weight.grad.full_tensor().tolist() == [[3.0, -1.0]] * 3
    assert layer.bias.grad.full_tensor().tolist() == [2.0] * 3
    assert forward._multiplies is (cut[1] == Shard(0))


def test_only_a_cut_on_a_tensor_axis_is_multiplied_by_parts(mesh):
    axes = Axes(mesh, DATA)
    whole = torch.arange(6.0).view(3, 2)
    for where, cut in (([Replicate(), Shard(1)], True), ([Shard(1), Replicate()], False)):
        weight = distribute_tensor(whole, mesh, where)
        assert axes.cut_for_product(weight) is cut
        assert list(axes.for_product(weight).placements) == [Replicate(), where[1]]
        assert torch.equal(axes.whole(weight), whole)


def test_weights_are_computed_with_in_the_asked_precision_and_keep_their_own(layer, mesh):
    forward = placed(layer, mesh, [Replicate(), Shard(0)], torch.bfloat16)
    assert forward(X.bfloat16()).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32


def test_a_layer_that_is_no_product_runs_its_own_forward_with_plain_weights(mesh):
    table = nn.Embedding(4, 2)
    rows = table.weight.detach().clone()
    forward = placed(table, mesh, [Replicate(), Shard(0)])
    before = table._parameters["weight"]
    assert torch.equal(forward(torch.tensor([3, 0])), rows[[3, 0]])
    assert table._parameters["weight"] is before, "the cut weight is back in its place"
    with pytest.raises(IndexError):
        forward(torch.tensor([9]))
    assert table._parameters["weight"] is before, "also after a fault"


def test_what_is_gathered_once_serves_every_call_until_it_is_let_go(layer, mesh):
    forward = placed(layer, mesh, [Shard(0), Replicate()])
    forward.gather()
    with torch.no_grad():
        layer.weight.to_local().zero_()
        layer.bias.to_local().zero_()
    forward.gathered = {name: torch.ones_like(weight) for name, weight in forward.gathered.items()}
    assert forward(X).tolist() == [[1.0] * 3, [3.0] * 3], "row sums of X, and a bias of 1"
    forward.gathered = None
    assert forward(X).tolist() == [[0.0] * 3] * 2


class Coordinates:
    """A mesh of `shape` as the rank at `where` sees it."""

    def __init__(self, shape, where):
        self.shape, self.where = shape, where

    def get_coordinate(self):
        return self.where


@pytest.mark.parametrize(
    ("data", "lanes", "numbers"),
    [
        ((True, True), 6, [0, 1, 2, 3, 4, 5]),
        ((True, False), 2, [0, 0, 0, 1, 1, 1]),
        ((False, True), 3, [0, 1, 2, 0, 1, 2]),
        ((False, False), 1, [0] * 6),
    ],
)
def test_ranks_that_pass_over_the_same_pieces_are_a_lane_with_one_speaker(data, lanes, numbers):
    found = [_lane(Coordinates((2, 3), (i, j)), data) for i in range(2) for j in range(3)]
    assert [lane.number for lane in found] == numbers and {lane.lanes for lane in found} == {lanes}
    speakers = [lane.number for lane in found if lane.speaks]
    assert sorted(speakers) == list(range(lanes)), "each lane says once what it found"
