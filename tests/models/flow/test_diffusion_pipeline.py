"""Stable Diffusion 3 and FLUX, tiny and built here, as flow policies: sampled, scored, trained through
adapters."""

import dataclasses
import warnings
from functools import lru_cache

import pytest
import torch

from oneloop.core.rooms import build
from oneloop.models.flow.pipeline_noise import pipeline_noise_levels
from oneloop.sample.plan.dress.fork import Fork
from tests.models.flow.tiny_pipelines import flux, stable_diffusion_3
from tests.support.rounding import logprob_room, moved_by, room
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


def pipelined(pipeline, start, steps=4):
    """The image of diffusers' own call for the prompt "a", with the noise levels it chooses by itself."""
    flux = type(pipeline).__name__ == "FluxPipeline"
    latents = pipeline._pack_latents(start, *start.shape) if flux else start
    pipeline.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pipeline(
            "a",
            height=16,
            width=16,
            latents=latents,
            num_inference_steps=steps,
            max_sequence_length=8,
            output_type="pt",
            guidance_scale=3.5 if flux else 1.0,
        ).images


def sampled(policy):
    """The rollout of the prompt "a", without noise."""
    with policy.greedy():
        rollouts, _ = policy.sample(asked(1, prompts=1))
    return rollouts


def image_room(policy):
    """How far two orders of the same sums may move what `sampled` makes."""

    def image(moved):
        with moved_by(moved, policy.model):
            return sampled(policy).output

    return room(image)


def test_it_samples_what_the_pipeline_itself_does(policy):
    """Without noise: the same prompt and start through diffusers' own call."""
    rollouts = sampled(policy)
    images = pipelined(policy.network.pipeline, rollouts["start"])
    torch.testing.assert_close(rollouts.output, images, rtol=0, atol=image_room(policy))


def test_noise_levels_are_those_of_the_pipelines_own_call(policy):
    pipeline = policy.network.pipeline
    pipelined(pipeline, torch.zeros(1, *policy.shape))
    assert policy.sigmas == pytest.approx(pipeline.scheduler.sigmas.tolist(), abs=1e-7)
    assert len(policy.sigmas) == 5 and policy.sigmas[0] == 1 and policy.sigmas[-1] == 0
    if not policy.network.flux:  # its scheduler shifts the smallest noise level twice
        assert policy.sigmas[3] == pytest.approx(3 * 0.0029940 / (1 + 2 * 0.0029940), abs=1e-6)


@pytest.mark.parametrize("made", [stable_diffusion_3, flux], ids=["sd3", "flux"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["shift", "dynamic shift"])
def test_noise_levels_follow_the_schedulers_configuration(made, dynamic, tmp_path):
    from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler

    options = {"use_dynamic_shifting": True, "max_shift": 1.3} if dynamic else {"shift": 2.5}
    pipeline = DiffusionPipeline.from_pretrained(made(tmp_path))
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(**options)
    levels = pipeline_noise_levels(pipeline, 6, image_tokens=16)
    pipelined(pipeline, torch.zeros(1, 4, 8, 8), steps=6)
    assert levels == pytest.approx(pipeline.scheduler.sigmas.tolist(), abs=1e-7)


def test_an_unknown_scheduler_is_refused_and_a_shift_given_is_kept(policy):
    from diffusers import DDIMScheduler, FluxPipeline

    pipeline = FluxPipeline.__new__(FluxPipeline)
    pipeline.__dict__["scheduler"] = DDIMScheduler()
    with pytest.raises(ValueError, match="scheduler is a DDIMScheduler.*give policy.flow.shift"):
        pipeline_noise_levels(pipeline, 4, image_tokens=16)
    given = dataclasses.replace(policy.options, shift=2.0)
    assert build_policy(given).sigmas == pytest.approx([1, 6 / 7, 2 / 3, 2 / 5, 0])


def build_policy(options):
    return type(options).open(options)


@pytest.mark.parametrize("alpha", [1, 4, 64])
def test_saved_adapters_make_the_same_images_in_a_pipeline_of_their_own(policy, alpha, tmp_path):
    """Through `load_lora_weights`, at scales alpha / rank below and above 1."""
    from diffusers import DiffusionPipeline

    model = dataclasses.replace(policy.options.model, alpha=alpha)
    trained = build_policy(dataclasses.replace(policy.options, model=model))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in trained.model.parameters():
            if weight.requires_grad:
                weight.copy_(0.5 * torch.randn(weight.shape, generator=draw))
    rollouts, untrained = sampled(trained), sampled(policy)
    trained.save(tmp_path)
    pipeline = DiffusionPipeline.from_pretrained(trained.options.model.name)
    bare = pipelined(pipeline, rollouts["start"])
    torch.testing.assert_close(untrained.output, bare, rtol=0, atol=image_room(policy))
    pipeline.load_lora_weights(tmp_path)
    images = pipelined(pipeline, rollouts["start"])
    near = image_room(trained)
    assert (rollouts.output - images).abs().max() <= near < 0.01 * (images - bare).abs().max()
    other = build_policy(
        dataclasses.replace(policy.options, model=dataclasses.replace(model, alpha=alpha + 1))
    )
    with pytest.raises(
        ValueError, match=rf"have alpha {alpha}, but .*alpha is {alpha + 1}; set it to {alpha}"
    ):
        other.network.load(tmp_path)


def test_the_reference_is_the_pipeline_without_adapters_and_adapters_come_back(policy, tmp_path):
    rollouts, _ = policy.sample(asked(2))
    policy.keep_reference()
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    written = policy.annotate(rollouts, ["reference", "proximal"]).actions
    near = logprob_room(policy, rollouts)
    torch.testing.assert_close(written.reference, rollouts.actions.logprob, rtol=0, atol=near)
    assert (written.proximal - written.reference).abs().max() > 10 * near
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


def test_frozen_weights_have_the_precision_that_was_asked_for(policy):
    """Older versions of diffusers load fp32 without a word."""
    model = dataclasses.replace(policy.options.model, dtype="bfloat16")
    network = model.build()
    assert {weight.dtype for weight in network.frozen.parameters()} == {torch.bfloat16}
    precision = {weight.requires_grad: weight.dtype for weight in network.transformer.parameters()}
    assert precision == {True: torch.float32, False: torch.bfloat16}


def test_prompts_are_remembered_in_host_memory_and_not_without_end(policy, monkeypatch):
    network, encoded = policy.network, []
    real = type(network)._encode

    def counted(prompt):
        encoded.append(prompt)
        return real(network, prompt)

    monkeypatch.setattr(network, "_encode_once", lru_cache(2)(counted))
    rows = [{"prompt": prompt} for prompt in "abcabc"]
    made = network.encode(rows)
    assert encoded == ["a", "b", "c"], "within a call each prompt is encoded once, however few are remembered"
    assert made["words"].device.type == "cpu" and torch.equal(made["words"][0], made["words"][3])
    network.encode([{"prompt": "c"}])
    assert encoded == ["a", "b", "c"]
    network.encode([{"prompt": "a"}])
    assert encoded == ["a", "b", "c", "a"]


def test_what_cannot_be_loaded_is_said():
    part = build("flow_model", {"diffusion_pipeline": {"name": "nobody/nothing"}})
    with pytest.raises(ValueError, match="cannot load 'nobody/nothing'"):
        part.build()
