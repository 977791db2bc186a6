"""credit/inverse_propensity.py: unbiased by enumeration, the plain baseline where everything is paid for."""

import itertools

import pytest
import torch

from oneloop.credit.group_relative import group_relative
from oneloop.credit.inverse_propensity import InversePropensity, inverse_propensity
from tests.support.toy import chains

NAN = float("nan")


def test_worked():
    """Two verdicts of propensity .5 and .25: weights 2 and 4, baseline 4/6."""
    reward = torch.tensor([0.0, 1.0, NAN])
    found = inverse_propensity(reward, torch.tensor([0.5, 0.25, 0.1]), torch.zeros(3), cap=20)
    assert found[:2].tolist() == pytest.approx([2 * (0 - 2 / 3), 4 * (1 - 2 / 3)], abs=1e-6)
    assert found[2].isnan()
    capped = inverse_propensity(reward, torch.tensor([0.5, 0.25, 0.1]), torch.zeros(3), cap=3)
    assert capped[:2].tolist() == pytest.approx([2 * (0 - 0.6), 3 * (1 - 0.6)], abs=1e-6)


def test_everything_paid_for_is_the_mean_baseline():
    draw = torch.Generator().manual_seed(0)
    reward, group = torch.rand(12, generator=draw), torch.arange(12) // 4
    found = inverse_propensity(reward, torch.ones(12), group, cap=20)
    torch.testing.assert_close(found, group_relative(reward, group, scale="none"), rtol=0, atol=1e-12)


def test_weighted_verdicts_mean_what_all_verdicts_would():
    """Over every choice of what is paid for, independent draws: sums of weight * reward are unbiased."""
    reward, q = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64), [0.3, 0.6, 0.9]
    mean = torch.zeros(3, dtype=torch.float64)
    for paid in itertools.product([False, True], repeat=3):
        chance = torch.tensor([p if on else 1 - p for p, on in zip(q, paid, strict=True)]).double().prod()
        seen = torch.where(torch.tensor(paid), reward, torch.nan)
        weight = torch.where(torch.tensor(paid), 1 / torch.tensor(q, dtype=torch.float64), 0.0)
        advantage = inverse_propensity(seen, torch.tensor(q).double(), torch.zeros(3), cap=100).nan_to_num(0)
        total = (weight * seen.nan_to_num(0)).sum()
        base = total / weight.sum() if any(paid) else 0.0
        assert advantage.sum().item() == pytest.approx(float(total - base * weight.sum()), abs=1e-6)
        mean += chance * weight * seen.nan_to_num(0)
    torch.testing.assert_close(mean, reward, rtol=0, atol=1e-6)


def test_by_batch_and_no_verdicts():
    rollouts = chains([2, 1, 3, 1], group_size=2)
    rollouts = rollouts.put(
        reward=torch.tensor([0.0, NAN, 1.0, NAN]).double(), propensity=torch.full((4,), 0.5).double()
    )
    alone = InversePropensity()(rollouts).actions.advantage
    assert alone[rollouts.owner == 0].eq(0).all() and alone[rollouts.owner == 1].isnan().all()
    batch = InversePropensity(by="batch")(rollouts).actions.advantage
    assert batch[rollouts.owner == 0].eq(-1).all() and batch[rollouts.owner == 2].eq(1).all()


@pytest.mark.parametrize("bad", [0.0, 1.5, NAN])
def test_bad_propensities(bad):
    with pytest.raises(ValueError, match="propensity of a rollout with a verdict must be in"):
        inverse_propensity(torch.ones(1), torch.tensor([bad]), torch.zeros(1), cap=2)
    inverse_propensity(torch.tensor([NAN]), torch.tensor([bad]), torch.zeros(1), cap=2)
