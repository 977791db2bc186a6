"""One-DM as a flow policy: sampling is DDIM's, with an eta too; what it learns from is DDPM's loss."""

import copy
from dataclasses import replace

import pytest
import torch

from oneloop.core.rooms import build
from oneloop.models.flow.one_dm import OneDm
from oneloop.models.handwriting import schedule
from oneloop.models.handwriting.sup_con import sup_con
from oneloop.models.handwriting.unrolled import diffused, unrolled_ddim
from oneloop.run.evaluation import held_out
from oneloop.sample.policies.denoising.sde import sde_step
from oneloop.sample.policies.flow import Flow
from oneloop.sample.policies.trees.branches import Branches
from oneloop.update.objective.flow_matching import FlowMatching
from oneloop.update.objective.style_contrast import StyleContrast
from tests.models.handwriting.test_schedule import ddim
from tests.models.handwriting.tiny import LETTERS, TinyOneDm, rows
from tests.support.rounding import room

diffusers = pytest.importorskip("diffusers")
STEPS = 5


@pytest.fixture(scope="module")
def asked():
    return held_out(build("data", {"rows": {"rows": rows(3)}}), 3, 2, 0)


def policy(**options):
    return Flow(**{"model": TinyOneDm(), "steps": STEPS, "noise": "ddim", "device": "cpu", **options}).open()


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_sampling_is_that_of_diffusers(asked, eta):
    flow = policy(noise="ddim", level=eta) if eta else policy(noise="ode")
    finished, _ = flow.sample(asked)
    model, scheduler = flow.network.model, ddim(diffusers, STEPS)
    branches = Branches(asked)
    condition = flow.condition(asked, torch.arange(len(asked)))
    z = branches.start(4 * 4 * 8).view(-1, 4, 4, 8)
    rowsof = torch.arange(len(asked))
    with torch.no_grad():
        for step, time in enumerate(scheduler.timesteps):
            noise = model(z, time.expand(len(z)), condition)
            drawn = branches.noise(step, rowsof, rowsof, z[0].numel()).view_as(z)
            told = {"eta": eta, "variance_noise": drawn} if step < STEPS - 1 else {}
            z = scheduler.step(noise, time, z, **told).prev_sample

    def moved(move):
        other = policy(noise="ddim", level=eta) if eta else policy(noise="ode")
        move(other.network.model)
        return other.sample(asked)[0].output

    # the first prediction of the data divides by sqrt(A_999) = 0.0064
    torch.testing.assert_close(finished.output, flow.network.decode(z), atol=room(moved), rtol=0)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_step_with_eta_is_that_of_ddim(eta):
    scheduler = ddim(diffusers, STEPS)
    levels = schedule.noise_levels(STEPS)
    for i, time in enumerate(schedule.grid(STEPS)[:-1]):
        step = sde_step("ddim", eta, levels[i], levels[i + 1])
        scale = (levels[i + 1] ** 2 + (1 - levels[i + 1]) ** 2) ** 0.5
        variance = scheduler._get_variance(time, time - 1000 // STEPS)
        # 1 - A_t / A_s loses what A_t / A_s has rounded of its last digits, in fp32 there
        lost = 8 * torch.finfo(torch.float32).eps / float(variance)
        assert step.std == pytest.approx(eta * float(variance) ** 0.5 * scale, rel=lost)


def means(flow, rollouts, actions, move):
    """Means of `actions` by a copy of the policy's model that `move` has changed."""
    kept = flow.network.model
    flow.network.model = move(copy.deepcopy(kept))
    try:
        return flow.at(rollouts, actions).mean.detach()
    finally:
        flow.network.model = kept


def test_before_an_update_ratios_are_one_and_the_reference_is_the_policy(asked):
    flow = policy()
    flow.keep_reference()
    rollouts, _ = flow.sample(asked)
    actions = torch.arange(len(rollouts.actions))
    here = flow.at(rollouts, actions)
    assert torch.equal(here.logprob.detach(), rollouts.actions.logprob)
    gap = room(lambda move: means(flow, rollouts, actions, move))
    torch.testing.assert_close(here.reference_mean, here.mean.detach(), atol=gap, rtol=0)


def test_the_reference_looks_at_hands_with_weights_of_its_own(asked):
    flow = policy()
    flow.keep_reference()
    rollouts, _ = flow.sample(asked)
    kept = flow.at(rollouts, torch.arange(4)).mean.detach()
    gap = room(lambda move: means(flow, rollouts, torch.arange(4), move))
    with torch.no_grad():
        for weight in flow.network.model.style.parameters():
            weight.mul_(1.5)
    here = flow.at(rollouts, torch.arange(4))
    assert (here.mean - kept).abs().max() > 10 * gap
    torch.testing.assert_close(here.reference_mean, kept, atol=gap, rtol=0)


@pytest.fixture(scope="module")
def demonstrated():
    flow = policy()
    asked = held_out(build("data", {"rows": {"rows": rows(4)}}), 4, 1, 0)
    return flow, flow.demonstrate(asked)[0]


def test_the_loss_is_the_error_of_the_noise(demonstrated):
    flow, rollouts = demonstrated
    actions = torch.arange(4)
    here = flow.at(rollouts, actions)
    noise = torch.randn(4, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([3, 200, 500, 999])
    sigma = schedule.levels_of(time)
    share = torch.from_numpy(schedule.alpha_bars()[time])[:, None, None, None].float()
    z = share.sqrt() * rollouts.actions.latent + (1 - share).sqrt() * noise
    predicted = flow.network.model(z, time, here.condition)
    wanted = (predicted - noise).square().mean((1, 2, 3))
    found = here.matching(noise, sigma) * (1 - sigma).square()
    gap = room(
        lambda move: (move(copy.deepcopy(flow.network.model))(z, time, here.condition) - noise).square()
    )
    # the velocity, of which the loss is made, divides the noise by sqrt(A_t), and A_999 is the least
    torch.testing.assert_close(found.float(), wanted, atol=gap / float(share.min().sqrt()), rtol=0)
    objective = FlowMatching(sigma="times", error_of="noise")
    loss, readings = objective(here, rollouts, actions)
    assert torch.equal(loss.detach(), readings["nll"])
    assert 0.5 < float(loss.detach().mean()) < 3  # of a model that has learned nothing


def test_a_network_that_predicts_data_answers_with_its_noise():
    network = TinyOneDm().build()
    told = network.context(network.encode(rows(2)))
    x = torch.randn(2, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([10, 700])
    sigma = schedule.levels_of(time)
    z, a, b = diffused(x, sigma)
    with torch.no_grad():
        data = network.model(z, time, told)  # what the U-Net says
        network.model.config = replace(network.config, predicts="data")
        wanted = (z - a * data) / b
        gap = room(lambda move: move(copy.deepcopy(network.model))(z, time, told))
        torch.testing.assert_close(network.model(z, time, told), wanted, atol=gap, rtol=0)
        velocity = network(x, sigma, told)
    clean = x - sigma.float().view(-1, 1, 1, 1) * velocity
    # noise becomes data again by b / a, and sigma rounds x before
    torch.testing.assert_close(clean, data, atol=float((b / a).max()) * 4 * gap, rtol=0)


def contrast(encoder, given):
    looked = [
        encoder.context(encoder.told([row[name] for row in given], [row["prompt"] for row in given]))
        for name in ("reference", "positive")
    ]
    return sum(
        sup_con(torch.stack([each[z] for each in looked], 1), torch.tensor([0, 1, 0, 1]))
        for z in ("z_spatial", "z_high")
    )


def test_contrast_is_that_of_both_branches(demonstrated):
    flow, rollouts = demonstrated
    actions = torch.arange(4)
    here = flow.at(rollouts, actions)
    loss, readings = StyleContrast(weight=2.0)(here, rollouts, actions)
    encoder, given = flow.network.model, rows(4)
    wanted = contrast(encoder, given)
    gap = room(lambda move: contrast(move(copy.deepcopy(encoder)), given))
    torch.testing.assert_close(loss, 2 * wanted, atol=2 * gap, rtol=0)
    torch.testing.assert_close(readings["contrast"], wanted.detach(), atol=gap, rtol=0)


def test_contrast_of_a_network_without_hands_is_refused():
    from tests.support.trees import asked, policy

    flow = policy(noise="ode")
    rollouts, _ = flow.sample(asked(1))
    here = flow.at(rollouts, torch.arange(2))
    with pytest.raises(ValueError, match="style_contrast needs a network of hands, such as one_dm"):
        StyleContrast()(here, rollouts, torch.arange(2))
    with pytest.raises(ValueError, match="flow_matching.sigma 'times' needs a network that has times"):
        FlowMatching(sigma="times")(here, rollouts, torch.arange(2))


@pytest.mark.parametrize("calls", [None, 1, 3])
def test_unrolled_from_data_is_the_five_calls_of_ddim(demonstrated, calls):
    flow, rollouts = demonstrated
    here = flow.at(rollouts, torch.arange(4))
    noise = torch.randn(4, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    share = torch.tensor([0.0, 0.3, 0.6, 0.999])
    image = here.unrolled(noise, share, 5, calls)
    time = 6 + (share.double() * 994).long()
    sigma = schedule.levels_of(time)
    latent = here.latent + sigma.float().view(-1, 1, 1, 1) * (noise - here.latent)
    z, _, _ = diffused(latent, sigma)
    data, _ = unrolled_ddim(flow.network.model, z, time, here.condition, 5, calls)

    def moved(move):
        other = move(copy.deepcopy(flow.network.model))
        return flow.network.decode(unrolled_ddim(other, z, time, here.condition, 5, calls)[0]).detach()

    torch.testing.assert_close(image, flow.network.decode(data), atol=room(moved), rtol=0)
    assert image.requires_grad


def test_a_saved_network_is_a_model_folder_and_opens(tmp_path):
    flow = policy()
    flow.save(tmp_path)
    part = OneDm(folder=str(tmp_path))
    loaded = part.build()
    for name, weight in flow.network.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])
    assert loaded.shape == flow.network.shape == (4, 4, 8)
    with torch.device("meta"):
        assert part.build().picture == (1, 8, 16)


def test_rows_that_cannot_be_written_are_refused_in_words():
    network = TinyOneDm().build()
    with pytest.raises(ValueError, match="needs a `reference`, a picture of the hand; the row has prompt"):
        network.encode([{"prompt": "ab"}])
    with pytest.raises(ValueError, match="writes text, got the prompt 3"):
        network.encode([{**rows(1)[0], "prompt": 3}])
    known = network.context(network.encode([{k: v for k, v in rows(1)[0].items() if k != "positive"}]))
    with pytest.raises(ValueError, match="needs rows with a `positive`"):
        network.views(known)


def test_pixels_and_latents_are_one_another():
    network = TinyOneDm().build()
    images = torch.from_numpy(rows(1)[0]["image"])[None]
    assert torch.equal(network.decode(network.latent(images)).round(decimals=6), images.round(decimals=6))
    assert replace(OneDm(), letters=2).config().width == 32
    assert set(LETTERS) == set("abcdefgh")


def test_latents_of_an_autoencoder(tmp_path):
    small = diffusers.AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
    )
    small.save_pretrained(tmp_path)
    part = OneDm(height=32, letter_width=32, hidden_size=16, channels=(8, 8), autoencoder=str(tmp_path))
    network = part.build()
    assert network.shape == (4, 4, 12)
    image = torch.rand(2, 1, 32, 96, generator=torch.Generator().manual_seed(0))
    latent = network.latent(image)
    assert latent.shape == (2, 4, 4, 12)
    assert network.decode(latent).shape == image.shape
    assert all(name.startswith("model.") for name, p in network.named_parameters() if p.requires_grad)
    with pytest.raises(ValueError, match="autoencoder: cannot load '.*nowhere'"):
        replace(part, autoencoder=str(tmp_path / "nowhere")).build()  # a path, so no hub is asked


def network(**options):
    """As `TinyOneDm`'s, with other options."""
    from oneloop.models.flow.one_dm import HandwritingNetwork
    from oneloop.models.seeded import seeded
    from tests.models.handwriting.tiny import Glyphs, config

    with seeded(0):
        made = HandwritingNetwork(config(**options))
    made.model.__dict__["glyphs"] = Glyphs()
    return made


@pytest.mark.parametrize(
    ("options", "shape", "tokens"),
    [
        ({}, (4, 4, 8), 2 * 4),
        ({"attention": "first"}, (4, 4, 8), 4 * 8),
        ({"patch": 1, "letters": 3}, (1, 8, 24), 4 * 12),
        ({"patch": 4}, (16, 2, 4), 1 * 2),
    ],
)
def test_the_shape_of_latents_follows_from_the_options(options, shape, tokens):
    made = network(**options)
    assert (made.shape, made.tokens) == (shape, tokens)
    told = made.encode(rows(2))
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert made(x, torch.tensor([0.2, 0.9]), told).shape == x.shape
        image = made.decode(x)
    assert image.shape == (2, *made.picture) and image.min() == 0 and image.max() == 1
    assert made.latent(image).shape == x.shape


def test_a_context_known_or_not_gives_the_same_velocity():
    made = network()
    told, x = made.encode(rows(2)), torch.randn(2, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ready = made(x, torch.tensor([0.5, 0.7]), made.context(told))
        torch.testing.assert_close(made(x, torch.tensor([0.5, 0.7]), told), ready, atol=0, rtol=0)


def test_shares_are_times_from_the_first_on():
    made = network()
    levels = made.time_levels(torch.tensor([0.0, 0.5, 0.9999999]), first=100)
    torch.testing.assert_close(levels, schedule.levels_of(torch.tensor([100, 550, 999])))
    assert schedule.times(made.time_levels(torch.ones(1))).tolist() == [999]
    down = made.descent(made.time_levels(torch.tensor([0.5]), first=100), 5)
    torch.testing.assert_close(down[:, 0], schedule.levels_of(torch.tensor([550, 440, 330, 220, 110, -1])))
    assert down[-1] == 0


def test_without_edges_writers_are_told_apart_by_one_branch():
    pairs, writers = {}, []
    for edges in ("clip", "none"):
        made = network(edges=edges)
        with torch.no_grad():
            pairs[edges], writers = made.views(made.context(made.encode(rows(3))))
    assert set(pairs["clip"]) == {"spatial", "high"} and set(pairs["none"]) == {"spatial"}
    assert pairs["none"]["spatial"].shape == (3, 2, 8) and writers.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 18}, "height must be a multiple of 4, got 18; nearest: 16"),
        ({"hidden_size": 20}, "hidden_size must be a multiple of 8 and of twice heads = 4, got 20"),
        ({"hidden_size": 8}, "hidden_size"),
    ],
)
def test_sizes_are_refused_when_the_part_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        OneDm(**options)
    kept = OneDm(folder="nowhere", height=18)  # the sizes are those of the folder
    with pytest.raises(ValueError, match="nowhere holds no handwriting model: there is no config.json"):
        kept.config()
