"""flow_transformer and flow_mlp: what they read of a prompt, that they can learn, that they come back from
disk."""

import copy

import pytest
import torch

from oneloop.models.flow.flow_mlp import FlowMlp
from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.models.flow.pixel_network import hashed_words
from tests.support.rounding import room

SMALL = {"image_size": 4, "channels": 1, "hidden_size": 32}
NETWORKS = [FlowTransformer(patch=2, layers=2, heads=2, **SMALL), FlowMlp(**SMALL)]
both = pytest.mark.parametrize("options", NETWORKS, ids=["transformer", "mlp"])


def moved(network, seed=0):
    """The network with weights that are no longer zero anywhere."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    return network


def test_words_letters_and_what_is_missing():
    plain = hashed_words("Two red circles", 4, 1000)
    assert plain[3] == 0 and all(0 < word < 1000 for word in plain[:3])
    assert hashed_words("two RED, circles!", 4, 1000) == plain
    spelled = hashed_words('"AB"', 4, 10**6)
    assert len(set(spelled[:2])) == 2 and hashed_words("A B", 4, 10**6)[:2] != spelled[:2]
    assert hashed_words("", 2, 1000) == [0, 0] and len(hashed_words("a b c", 2, 1000)) == 2
    with pytest.raises(ValueError, match="reads prompts of words, got"):
        hashed_words([{"role": "user"}], 2, 1000)


@both
def test_the_prompt_and_the_noise_level_are_heard(options):
    network = moved(options.build())
    latent, sigma = torch.randn(2, 1, 4, 4), torch.tensor([0.5, 0.5])
    one = network(latent, sigma, network.encode([{"prompt": "seven"}] * 2))
    other = network(latent, sigma, network.encode([{"prompt": "eight"}] * 2))
    assert one.shape == latent.shape and (one - other).abs().max() > 1e-4
    assert (one - network(latent, sigma * 0.9, network.encode([{"prompt": "seven"}] * 2))).abs().max() > 1e-4


@both
def test_latents_are_judged_one_by_one(options):
    network = moved(options.build())
    latent, sigma = torch.randn(3, 1, 4, 4), torch.rand(3)
    condition = network.encode([{"prompt": word} for word in "abc"])
    whole = network(latent, sigma, condition)
    alone = network(latent[1:2], sigma[1:2], {name: value[1:2] for name, value in condition.items()})
    gap = room(lambda move: move(copy.deepcopy(network))(latent, sigma, condition))
    torch.testing.assert_close(whole[1:2], alone, rtol=0, atol=gap)


@both
def test_built_twice_it_is_the_same_and_it_comes_back_from_disk(options, tmp_path):
    state = torch.random.get_rng_state()
    one, two = options.build(), options.build()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    moved(one).save(tmp_path)
    two.load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@both
def test_pixels_are_the_latent_and_the_clamp_stops_gradients(options):
    network = options.build()
    images = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(network.decode(network.latent(images)), images)
    latent = torch.tensor([[[[0.5, 1.5], [-1.5, 0.0]]]], requires_grad=True)
    network.decode(latent).sum().backward()
    assert latent.grad.flatten().tolist() == [0.5, 0, 0, 0.5]


@pytest.mark.parametrize("cls", [FlowTransformer, FlowMlp])
def test_a_picture_beside_the_latent_is_seen(cls):
    extra = {"patch": 2} if cls is FlowTransformer else {}
    network = moved(cls(condition_channels=2, **SMALL, **extra).build())
    latent, sigma = torch.randn(1, 1, 4, 4), torch.tensor([0.5])
    dark, light = ({"prompt": "a", "condition": torch.full((2, 4, 4), value).numpy()} for value in (0.0, 1.0))
    one, other = (network(latent, sigma, network.encode([row])) for row in (dark, light))
    assert (one - other).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"`condition` of shape \(2, 4, 4\), got \(0,\)"):
        network.encode([{"prompt": "a"}])


def test_it_learns_what_a_constant_picture_is():
    network = FlowTransformer(patch=2, layers=1, heads=2, **SMALL).build()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    draw, target = torch.Generator().manual_seed(0), torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    condition = network.encode([{"prompt": "x"}] * 32)
    losses = []
    for _ in range(60):
        noise, sigma = torch.randn(32, 1, 4, 4, generator=draw), torch.rand(32, generator=draw).clamp(0.1)
        level = sigma.view(-1, 1, 1, 1)
        velocity = network((1 - level) * target + level * noise, sigma, condition)
        loss = (velocity - (noise - target)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.1 * sum(losses[:5])


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="image_size must be a multiple of patch = 4, got 30"):
        FlowTransformer(image_size=30)
    with pytest.raises(ValueError, match="hidden_size must be a multiple of heads = 3"):
        FlowTransformer(heads=3)
