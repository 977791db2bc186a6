"""A weight that an update made infinite is named; weights that are not trained are nobody's fault."""

import pytest
import torch
from torch import nn

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.update.not_finite import NotFinite, check_finite, check_weights
from oneloop.update.objective.supervised import Supervised
from tests.support.training import raw_recipe, train


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


@pytest.mark.parametrize("phase", ["warm", "reinforce"])
def test_a_learning_rate_beyond_reason_is_said_to_diverge(phase, tmp_path):
    options = raw_recipe()["phases"][phase]
    options["learner"] |= {"learning_rate": 1e30}
    options["plan"].pop("keep", None)
    with pytest.raises(NotFinite, match=r"training has diverged: begin again"):
        train(tmp_path / "run", phases={phase: options}, evaluate=None)


def test_a_loss_that_is_not_finite_names_its_rollout():
    bad = torch.tensor([float("nan"), 0.0])
    with pytest.raises(
        NotFinite, match="Supervised gives a loss of nan for rollout 0 .*, action 0; the update"
    ):
        check_finite(bad, torch.ones(2), Supervised(), simple(2), torch.tensor([0, 1]))
    check_finite(bad, torch.tensor([0.0, 1.0]), Supervised(), simple(2), torch.tensor([0, 1]))


def simple(count: int) -> Rollouts:
    """Rollouts of one action each."""
    actions = Actions({"parent": torch.full((count,), -1)})
    return Rollouts(
        {"id": torch.arange(count), "group": torch.arange(count), "last": torch.arange(count)}, actions, {}
    )
