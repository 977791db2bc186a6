import numpy as np
import pytest
import torch

from oneloop.models.handwriting import schedule
from oneloop.models.handwriting.unrolled import diffused


@pytest.mark.parametrize(
    ("time", "share"),
    [
        (0, 0.9999),
        (1, 0.99978009),
        (6, 0.99888221),
        (19, 0.99423095),
        (100, 0.89514159),
        (250, 0.52142303),
        (500, 0.07779666),
        (999, 4.0358298e-05),
    ],
)
def test_share_of_the_data(time, share):
    assert schedule.alpha_bars()[time] == pytest.approx(share, rel=1e-7)


def test_the_grid_of_fifty_steps():
    assert schedule.grid(50)[:3] == [999, 979, 959]
    assert schedule.grid(50)[-1] == 19
    assert len(schedule.noise_levels(50)) == 51
    assert schedule.noise_levels(50)[-1] == 0
    with pytest.raises(ValueError, match="1 to 1000 steps, got 1001"):
        schedule.grid(1001)


def test_the_grid_is_that_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    for steps in (5, 12, 50):
        assert schedule.grid(steps) == ddim(diffusers, steps).timesteps.tolist()


def test_a_level_in_fp32_is_its_time():
    levels = torch.from_numpy(schedule.sigmas()).float()
    assert schedule.times(levels).tolist() == list(range(1000))


def test_a_flow_and_a_diffusion_are_one_thing():
    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    time = torch.tensor([0, 500, 999])
    sigma = schedule.levels_of(time)
    z, a, b = diffused((1 - sigma[:, None]) * data + sigma[:, None] * noise, sigma)
    share = torch.from_numpy(schedule.alpha_bars()[time.numpy()])[:, None]
    torch.testing.assert_close(z, share.sqrt() * data + (1 - share).sqrt() * noise)
    torch.testing.assert_close(a, share.sqrt())
    torch.testing.assert_close(b, (1 - share).sqrt())


def test_descent_floors_and_refuses_times_that_are_too_early():
    assert schedule.descent(torch.tensor([6, 999]), 5).T.tolist() == [
        [6, 4, 3, 2, 1, -1],
        [999, 799, 599, 399, 199, -1],
    ]
    with pytest.raises(ValueError, match="4 or later to take 5 steps to 0, got 3"):
        schedule.descent(torch.tensor([3]), 5)
    assert schedule.levels_of(torch.tensor([-1, 0])).tolist() == [0.0, schedule.sigmas()[0]]
    assert np.all(np.diff(schedule.sigmas()) > 0)


def ddim(diffusers, steps):
    """The paper's sampler, by diffusers."""
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    return scheduler
