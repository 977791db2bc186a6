"""Stable Diffusion 3 and FLUX, tiny and built here, as flow policies: sampled, scored, trained through
adapters."""

import warnings

import pytest
import torch

from oneloop.core.rooms import build
from oneloop.sample.plan.dress.fork import Fork
from tests.models.flow.tiny_pipelines import flux, stable_diffusion_3
from tests.support.trees import asked

pytest.importorskip("diffusers")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[stable_diffusion_3, flux], ids=["sd3", "flux"])
def policy(request, tmp_path_factory):
    folder = request.param(tmp_path_factory.mktemp("pipeline") / "tiny")
    model = {"name": str(folder), "image_size": 16, "dtype": "float32", "rank": 2, "words": 8}
    return build("policy", {"flow": {"model": {"diffusion_pipeline": model}, "steps": 4}}).open()


def test_only_adapters_are_trained_and_every_ratio_is_one(policy):
    trained = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    assert trained and all("lora" in name for name in trained)
    rollouts, _ = policy.sample(asked(4, fork=Fork(steps=(0, 1))))
    assert rollouts.output.shape == (8, 3, 16, 16) and policy.shape == (4, 8, 8)
    for actions in policy.batches(rollouts, rollouts.actions.share > 0, 1 << 30):
        here = policy.at(rollouts, actions)
        assert (here.logprob.detach() - rollouts.actions.logprob[actions]).abs().max() == 0
        (here.logprob.sum() + here.output.sum()).backward()
    gradients = [weight.grad for weight in policy.model.parameters() if weight.grad is not None]
    assert len(gradients) == len(trained) and sum(float(g.abs().sum()) for g in gradients) > 0


def test_it_samples_what_the_pipeline_itself_does(policy):
    """Without noise: the same prompt and start through diffusers' own call."""
    with policy.greedy():
        rollouts, _ = policy.sample(asked(1, prompts=1))
    network = policy.network
    pipeline, start = network.pipeline, rollouts["start"]
    latents = pipeline._pack_latents(start, 1, *policy.shape) if network.flux else start
    given = {"guidance_scale": 3.5} if network.flux else {"guidance_scale": 1.0}
    pipeline.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.scheduler.set_shift(1.0)
        images = pipeline(
            "a",
            height=16,
            width=16,
            latents=latents,
            sigmas=policy.sigmas[:-1],
            num_inference_steps=4,
            max_sequence_length=8,
            output_type="pt",
            **given,
        ).images
    torch.testing.assert_close(rollouts.output, images, rtol=1e-3, atol=1e-3)


def test_the_reference_is_the_pipeline_without_adapters_and_adapters_come_back(policy, tmp_path):
    rollouts, _ = policy.sample(asked(2))
    policy.keep_reference()
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    written = policy.annotate(rollouts, ["reference", "proximal"]).actions
    torch.testing.assert_close(written.reference, rollouts.actions.logprob, rtol=1e-5, atol=1e-6)
    assert (written.proximal - written.reference).abs().max() > 1e-5
    policy.save(tmp_path)
    trained = [weight.clone() for weight in policy.model.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.zero_()
    policy.restore(tmp_path, policy.state_dict())
    back = [weight for weight in policy.model.parameters() if weight.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(trained, back, strict=True))


def test_latents_and_prompts(policy):
    images = torch.rand(2, 3, 16, 16)
    assert policy.network.latent(images).shape == (2, *policy.shape)
    encoded = policy.network.encode([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "a"}])
    assert torch.equal(encoded["pooled"][0], encoded["pooled"][2])
    assert not torch.equal(encoded["words"][0], encoded["words"][1])


def test_what_cannot_be_loaded_is_said():
    part = build("flow_model", {"diffusion_pipeline": {"name": "nobody/nothing"}})
    with pytest.raises(ValueError, match="cannot load 'nobody/nothing'"):
        part.build()
