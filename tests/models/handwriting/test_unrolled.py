import math

import pytest
import torch

from oneloop.models.handwriting.schedule import alpha_bars
from oneloop.models.handwriting.unrolled import unroll, unrolled_ddim

GENERATOR = torch.Generator().manual_seed(0)


def share(time):
    return torch.from_numpy(alpha_bars())[time]


def test_one_step_by_hand():
    z_t = math.sqrt(share(500)) + math.sqrt(1 - share(500)) * 0.5
    assert z_t == pytest.approx(0.7590776179, abs=1e-9)

    def model(z, t, cond):
        return torch.full_like(z, 0.4)

    latent = torch.full((1, 1), z_t, dtype=torch.float64)
    data, noise = unrolled_ddim(model, latent, torch.tensor([500]), {}, steps=1)
    assert float(data) == pytest.approx(1.3442967113, abs=1e-9)
    assert float(noise) == 0.4
    there = math.sqrt(share(250)) * float(data) + math.sqrt(1 - share(250)) * 0.4
    assert there == pytest.approx(1.2474286787, abs=1e-9)
    seen = []

    def looked(z, t, cond):
        seen.append((int(t), float(z)))
        return model(z, t, cond)

    unrolled_ddim(looked, latent, torch.tensor([500]), {}, steps=2)
    assert seen[1] == (250, pytest.approx(1.2474286787, abs=1e-9))


@pytest.mark.parametrize("time", [6, 100, 999])
def test_with_the_true_noise_the_data_comes_back(time):
    data, noise = torch.randn(2, 2, 3, 4, dtype=torch.float64, generator=GENERATOR)

    def oracle(z, t, cond):
        a = share(t)[:, None, None]
        return (z - a.sqrt() * data) / (1 - a).sqrt()

    z_t = share(time).sqrt() * data + (1 - share(time)).sqrt() * noise
    found, first = unrolled_ddim(oracle, z_t, torch.full((2,), time), {})
    torch.testing.assert_close(found, data, atol=1e-11, rtol=0)
    torch.testing.assert_close(first, noise, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("time", "slope"), [(999, -157.4073), (6, -0.0334520)])
def test_how_an_error_of_the_noise_is_amplified(time, slope):
    noise = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    data, _ = unrolled_ddim(lambda z, t, cond: noise, torch.ones(1, 1).double(), torch.tensor([time]), {}, 1)
    data.sum().backward()
    assert float(noise.grad) == pytest.approx(slope, rel=2e-6)


@pytest.mark.parametrize(("k_last", "reached"), [(None, 5), (5, 5), (2, 2), (1, 1)])
def test_the_gradient_goes_through_the_last_calls_alone(k_last, reached):
    calls = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(5)]
    times = iter(calls)

    def model(z, t, cond):
        return 0.1 * z + next(times)

    latent = torch.randn(2, 3, dtype=torch.float64, generator=GENERATOR)
    data, _ = unrolled_ddim(model, latent, torch.tensor([900, 300]), {}, k_last=k_last)
    data.sum().backward()
    assert [call.grad is not None and float(call.grad) != 0 for call in calls] == [
        i >= 5 - reached for i in range(5)
    ]


def test_how_many_calls_are_differentiated_is_checked():
    with pytest.raises(ValueError, match=r"calls must lie in 1..5, the steps that are unrolled, got 6"):
        unroll(lambda x, step: x, torch.zeros(1, 1), torch.zeros(6, 1), calls=6)
