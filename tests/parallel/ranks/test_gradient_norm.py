"""The norm of all gradients: right, and more exact than the sum it replaces."""

import math

import torch

from oneloop.parallel.ranks.gradient_norm import gradient_norm


def test_the_norm_of_several_tensors_is_that_of_all_their_numbers():
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0], [12.0]]).t(), torch.empty(0)]
    assert gradient_norm(gradients) == 13.0
    assert gradient_norm([]) == 0.0


def test_a_million_numbers_lose_nothing_to_rounding():
    numbers = torch.rand(2**20, generator=torch.Generator().manual_seed(0)) + 0.5
    # summed in blocks of any order the squares, all of one sign, round by less than sqrt(n) units each
    bound = math.sqrt(numbers.numel()) * torch.finfo(torch.float32).eps / 2
    assert abs(gradient_norm([numbers]) / float(numbers.double().norm()) - 1) < bound


def test_a_number_that_is_not_finite_makes_the_norm_so():
    assert math.isinf(gradient_norm([torch.tensor([1.0, float("inf")])]))
    assert math.isnan(gradient_norm([torch.tensor([1.0, float("nan")])]))
