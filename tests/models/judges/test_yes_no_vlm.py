"""A vision-language model as a judge: pixels as its processor makes them, answers, gradients, what is
refused."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from oneloop.judge.pairwise.preferences import judge_loss
from oneloop.judge.pairwise.questions import Question
from oneloop.judge.preference import Preference
from oneloop.models.judges.pixel_map import NotDifferentiable, PixelMap, learned_layout, resized
from oneloop.models.judges.yes_no_vlm import YesNoNetwork, YesNoVlm, answer_token, checkpoint_layers
from oneloop.models.vision_language.flexible_llava import FlexibleLlava
from oneloop.models.vision_language.small_llava import SmallLlava
from tests.models.judges.tiny_vlms import BUILT, idefics3, tokenizer
from tests.support.rounding import relative, reordered, room

kinds = pytest.mark.parametrize("kind", BUILT)


@pytest.fixture(scope="module")
def networks():
    made = {}
    for kind, build in BUILT.items():
        torch.manual_seed(0)
        made[kind] = YesNoNetwork(YesNoVlm(name="tiny", image_size=16, dtype="float32"), *build())
    return made


def asked(*texts):
    return [Question("fill", "consistency", text, {}) for text in texts]


def images(count, seed=0, **options):
    return torch.rand(2, count, 3, 16, 16, generator=torch.Generator().manual_seed(seed), **options)


@kinds
def test_pixels_are_what_the_processor_makes_of_them(networks, kind):
    network = networks[kind]
    pictures = np.random.default_rng(3).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    wanted = network._inputs("Which", list(pictures))["pixel_values"]
    pairs = torch.from_numpy(pictures).permute(0, 3, 1, 2)[None].float() / 255
    # by 255, less a mean, over a deviation: each rounds once, in both
    close = 8 * torch.finfo(torch.float32).eps * float(1 + wanted.abs().max())
    torch.testing.assert_close(network.pixels(pairs), wanted, atol=close, rtol=0)


@kinds
def test_each_pair_is_answered_as_if_alone_and_as_the_model_itself_does(networks, kind):
    network, (first, second) = networks[kind], images(2)
    questions = asked("Which image better", "Whose")
    together = network.answers(first, second, questions)
    gap = room(lambda move: move(copy.deepcopy(network)).answers(first, second, questions))
    for i in range(2):
        alone = network.answers(first[i : i + 1], second[i : i + 1], questions[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=gap, rtol=0)
    pictures = [
        np.asarray((255 * each[0]).round().permute(1, 2, 0), dtype=np.uint8) for each in (first, second)
    ]
    exact = [torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255 for picture in pictures]
    inputs = network._inputs("Which image better", pictures)
    law = network.model(**inputs).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(
        network.answers(*exact, questions[:1])[0], law[network.words], atol=gap, rtol=0
    )


@kinds
def test_the_gradient_reaches_both_images(networks, kind):
    first, second = images(1)
    first.requires_grad_(), second.requires_grad_()
    margin = networks[kind].answers(first, second, asked("Which"))
    (margin[0, 0] - margin[0, 1]).backward()
    direction = torch.randn(first.shape, generator=torch.Generator().manual_seed(5))
    step, shifted = 1e-2, []
    for sign in (1, -1):
        with torch.no_grad():
            law = networks[kind].answers(first + sign * step * direction, second, asked("Which"))[0]
        shifted.append(float(law[0] - law[1]))
    assert second.grad.abs().max() > 0
    slope = (shifted[0] - shifted[1]) / (2 * step)
    assert float((first.grad * direction).sum()) == pytest.approx(slope, rel=0.2, abs=2e-4)


def test_it_learns_from_pairs_in_both_orders():
    torch.manual_seed(0)
    network = YesNoNetwork(YesNoVlm(name="tiny", image_size=16, dtype="float32"), *idefics3())
    bright, dark = torch.full((8, 3, 16, 16), 0.8), torch.full((8, 3, 16, 16), 0.2)
    noise = 0.1 * torch.randn(8, 3, 16, 16)
    winner, loser, questions = (bright + noise).clamp(0, 1), (dark + noise).clamp(0, 1), asked(*["Which"] * 8)
    with torch.no_grad():  # so small a model starts nearly blind
        for weight in network.model.parameters():
            weight.mul_(5.0 if weight.ndim > 1 else 1.0)
    optimiser = torch.optim.AdamW(network.model.parameters(), lr=1e-2)

    def loss():
        return judge_loss(
            network.answers(winner, loser, questions)[:, 0], network.answers(loser, winner, questions)[:, 1]
        )

    before = float(loss().detach())
    for _ in range(25):
        optimiser.zero_grad()
        (step := loss()).backward()
        optimiser.step()
    assert float(step.detach()) < 0.2 < before


def test_a_folder_becomes_a_judge(tmp_path):
    model, processor = idefics3()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    vlm = {"yes_no_vlm": {"name": str(tmp_path), "image_size": 16, "dtype": "float32", "checkpointing": True}}
    judge = Preference(model=vlm, tasks={"fill": ("consistency",)}, normalize="pair")
    assert isinstance(judge.network, YesNoNetwork)
    assert not any(weight.requires_grad for weight in judge.network.parameters())


@kinds
def test_checkpointing_computes_layers_again_and_changes_nothing(networks, kind):
    torch.manual_seed(0)
    built = YesNoNetwork(
        YesNoVlm(name="tiny", image_size=16, dtype="float32", checkpointing=True), *BUILT[kind]()
    )
    results = {}
    for name, network in {"plain": networks[kind].eval(), "checkpointed": built.eval()}.items():
        calls = []
        norms = [module for module in network.model.modules() if "LayerNorm" in type(module).__name__]
        norms += [module for module in network.model.modules() if "RMSNorm" in type(module).__name__]
        hooks = [norm.register_forward_hook(lambda *_, calls=calls: calls.append(1)) for norm in norms]
        first, second = images(1)
        first.requires_grad_()
        answers = network.answers(first, second, asked("Which"))
        forward = len(calls)
        answers[0, 0].backward()
        results[name] = (answers.detach(), first.grad, len(calls) - forward)
        for hook in hooks:
            hook.remove()
    (plain, slope, none), (answers, gradient, again) = results["plain"], results["checkpointed"]
    assert none == 0 and again > 0, "layers are computed again in the backward pass"
    gap = room(lambda move: move(copy.deepcopy(built)).answers(*images(1), asked("Which")))
    torch.testing.assert_close(answers, plain, rtol=0, atol=gap)
    assert relative(gradient, slope) < reordered(built.model)


def test_a_model_without_layers_to_compute_again_is_refused():
    with pytest.raises(ValueError, match="Linear has no layers that can be computed again"):
        checkpoint_layers(torch.nn.Linear(2, 2))


def test_a_processor_that_does_more_than_lay_out_is_refused(networks):
    network = networks["idefics3"]

    def blurred(pair, **options):
        values = network._inputs("-", list(pair), **options)["pixel_values"]
        return (values + values.roll(1, -1)) / 2

    with pytest.raises(NotDifferentiable, match="judge preprocessing is not differentiable: at 16 pixels"):
        PixelMap(blurred, network.processor.image_processor, 16)
    with pytest.raises(NotDifferentiable, match="set image_size to a size it leaves alone"):
        YesNoNetwork(YesNoVlm(name="tiny", image_size=12, dtype="float32"), *idefics3())


def test_repeats_and_padding_are_learned():
    def padded(pair, **options):
        values = np.stack([np.asarray(each).transpose(2, 0, 1) for each in pair]).astype(np.float32)
        return np.concatenate([np.zeros((1, 3, 2, 2), np.float32), values, values])

    layout = learned_layout(padded, 2)
    assert layout[0].eq(0).all() and torch.equal(layout[1:3], layout[3:])
    assert layout[1:3].flatten().tolist() == list(range(1, 25))


def test_images_are_resized_as_pillow_does_it():
    picture = np.random.default_rng(0).integers(80, 176, (8, 8, 3), dtype=np.uint8)  # no overshoot to be cut
    for size in (5, 16):
        wanted = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))
        got = resized(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255, size)[0]
        assert np.abs(got.permute(1, 2, 0).numpy() * 255 - wanted).max() <= 2
    assert resized(torch.rand(1, 1, 4, 4), 4).shape == (1, 3, 4, 4)


def flexible(count):
    """A LLaVA of several numbers of visual tokens, 16 of its own, as a judge that is shown `count`."""
    model, processor = FlexibleLlava(
        model=SmallLlava(image_size=16, patch_size=4), num_image_tokens=16
    ).build()
    options = {"image_size": 16, "dtype": "float32", "yes": "y", "no": "n"}
    return YesNoNetwork(YesNoVlm(name="tiny", num_image_tokens=count, **options), model, processor)


def test_a_flexible_model_judges_by_as_many_visual_tokens_as_are_asked_for():
    first, second = images(2)
    said = {count: flexible(count).answers(first, second, asked("Which", "Whose")) for count in (None, 16, 4)}
    assert torch.equal(said[None], said[16]) and not torch.equal(said[16], said[4])
    network = flexible(4)
    pictures = [
        np.asarray((255 * each[0]).round().permute(1, 2, 0), dtype=np.uint8) for each in (first, second)
    ]
    inputs = network._inputs("Which", pictures)
    assert int((inputs["input_ids"] == network.model.config.image_token_id).sum()) == 2 * 4
    law = network.model(**inputs).logits[0, -1].log_softmax(-1)[network.words]
    exact = [torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255 for picture in pictures]
    gap = room(lambda move: move(copy.deepcopy(network)).answers(*exact, asked("Which")))
    torch.testing.assert_close(network.answers(*exact, asked("Which"))[0], law, atol=gap, rtol=0)


def test_a_number_of_visual_tokens_that_cannot_be_shown_is_refused():
    with pytest.raises(ValueError, match="num_image_tokens: got 4, but the model has one number"):
        YesNoNetwork(YesNoVlm(name="tiny", image_size=16, num_image_tokens=4), *idefics3())
    with pytest.raises(ValueError, match="5"):
        flexible(5)


def test_answers_must_be_one_token_each_and_differ():
    words = tokenizer()
    assert answer_token(words, "Yes") != answer_token(words, "No")
    with pytest.raises(ValueError, match="'Yes No' must be one token of the model, got 2"):
        answer_token(words, "Yes No")
    with pytest.raises(ValueError, match="'Perhaps' must be one token"):
        answer_token(words, "Perhaps")
    with pytest.raises(ValueError, match="yes and no are one token"):
        YesNoNetwork(YesNoVlm(name="tiny", image_size=16, no="Yes", dtype="float32"), *idefics3())
    with pytest.raises(ValueError, match="cannot load '/nowhere'"):
        YesNoVlm(name="/nowhere").build()
