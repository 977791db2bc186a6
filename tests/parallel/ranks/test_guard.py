"""A block without memory hands on what it was given; its pass ends with zeros, and the process lives on."""

import pytest
import torch
from torch import nn

from oneloop.parallel.ranks.guard import Guarded, MemoryGuard, can_be_guarded


class Doubling(nn.Module):
    """A block: 2 w x + shift; `fails` says in which calls it has no memory."""

    def __init__(self, fails=()):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 3.0]))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.fails, self.calls = fails, 0

    def forward(self, states, shift=0.0):
        self.calls += 1
        if self.calls in self.fails:
            raise torch.OutOfMemoryError("no memory")
        return 2 * self.weight * states + shift


@pytest.fixture
def states():
    return torch.tensor([[1.0, -1.0]], requires_grad=True)


def test_with_memory_enough_values_and_gradients_are_the_blocks(states):
    block, memory = Doubling(), MemoryGuard()
    made = Guarded(block, memory)(states, shift=torch.tensor(0.5))
    assert made.tolist() == [[2.5, -5.5]]
    made.backward(torch.tensor([[1.0, 10.0]]))
    assert states.grad.tolist() == [[2.0, 60.0]] and block.weight.grad.tolist() == [2.0, -20.0]
    assert not memory.ran_out()


def test_a_block_without_memory_says_its_input_and_gives_zeros(states):
    block, memory = Doubling(fails=(1,)), MemoryGuard()
    made = Guarded(block, memory)(states)
    assert made.tolist() == states.tolist() and made is not states
    made.sum().backward()
    assert states.grad.tolist() == [[0.0, 0.0]] and block.weight.grad.tolist() == [0.0, 0.0]
    assert block.frozen.grad is None, "what is not trained has no gradient"


def test_later_blocks_of_the_pass_compute_nothing_and_are_asked_once(states):
    first, second, memory = Doubling(fails=(1,)), Doubling(), MemoryGuard()
    made = Guarded(second, memory)(Guarded(first, memory)(states))
    made.sum().backward()
    assert second.calls == 0 and second.weight.grad.tolist() == [0.0, 0.0]
    assert memory.ran_out() and not memory.ran_out(), "the second question is of a new pass"
    assert Guarded(second, memory)(states).tolist() == [[2.0, -6.0]] and second.calls == 1


def test_gradients_that_were_there_stay_when_the_pass_is_given_up(states):
    block, memory = Doubling(fails=(2,)), MemoryGuard()
    guarded = Guarded(block, memory)
    guarded(states).sum().backward()
    before = block.weight.grad.tolist()
    guarded(states).sum().backward()
    assert block.weight.grad.tolist() == before == [2.0, -2.0]


class Falls(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        raise torch.OutOfMemoryError("no memory on the way back")


def test_memory_that_ends_on_the_way_back_is_caught_too(states):
    block, memory = Doubling(), MemoryGuard()
    block.forward = lambda x: Falls.apply(block.weight * x)
    Guarded(block, memory)(states).sum().backward()
    assert memory.ran_out() and states.grad.tolist() == [[0.0, 0.0]] == [block.weight.grad.tolist()]


def test_an_input_without_gradient_still_trains_the_block():
    block = Doubling()
    Guarded(block, MemoryGuard())(torch.tensor([[1.0, 2.0]])).sum().backward()
    assert block.weight.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("no_gradient", [True, False])
def test_without_gradients_or_with_a_second_input_that_has_one_nothing_is_caught(states, no_gradient):
    block, memory = Doubling(fails=(1,)), MemoryGuard()
    shift = torch.zeros(1, requires_grad=not no_gradient)
    with torch.set_grad_enabled(not no_gradient), pytest.raises(torch.OutOfMemoryError):
        Guarded(block, memory)(states, shift)
    assert not memory.ran_out()


class Decoder(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.table, self.block = nn.Embedding(4, 2), block

    def forward(self, input_ids):
        return self.block(self.table(input_ids))


class Pair(Doubling):
    def forward(self, states):
        return states, states


class Wider(Doubling):
    def forward(self, states):
        return torch.cat([states, states], -1)


@pytest.mark.parametrize(("block", "can"), [(Doubling(), True), (Pair(), False), (Wider(), False)])
def test_only_a_block_that_makes_one_tensor_of_its_inputs_shape_can_be_guarded(block, can):
    assert can_be_guarded(Decoder(block), block) is can
    assert not block._forward_hooks, "the hook is taken away again"


def test_a_block_that_does_not_run_cannot_be_guarded():
    assert not can_be_guarded(Decoder(Doubling()), Doubling())
