"""A weight that an update made infinite is named; weights that are not trained are nobody's fault."""

import pytest
import torch
from torch import nn

from oneloop.update.not_finite import NotFinite, check_weights


def test_a_weight_that_is_not_finite_is_named():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).bfloat16()
    check_weights(model, 0.1)
    with torch.no_grad():
        model[1].weight[0, 1] = float("inf")
    with pytest.raises(NotFinite, match=r"NaN or infinite \(1.weight\): .* learning rate of 1e\+30"):
        check_weights(model, 1e30)
    model[1].weight.requires_grad_(False)
    check_weights(model, 0.1)
    with torch.no_grad():
        model[0].bias[1] = float("nan")
    with pytest.raises(NotFinite, match=r"\(0.bias\)"):
        check_weights(model, 0.1)
