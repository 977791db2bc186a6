"""A LLaVA with a token-adaptive projector: what is asked of one call, batches, disk, collator, loss."""

import copy

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from oneloop.core.budgets import BudgetSampler
from oneloop.models.flexible_vlm import (
    FlexibleLlavaForConditionalGeneration,
    FlexibleLlavaProcessor,
    FlexVisionCollator,
    flexible_processor,
    flexify,
    square_average_loss,
)
from oneloop.models.language.small_llama import SmallLlama
from oneloop.models.vision_language.small_llava import SmallLlava
from tests.support.rounding import room

SMALL = SmallLlava(hidden_size=16, heads=2, layers=1, image_size=24, patch_size=4)


@pytest.fixture(scope="module")
def made():
    model, processor = SMALL.build()
    torch.manual_seed(0)
    return flexify(model.eval(), 9), flexible_processor(processor, 9)


def picture(colour):
    image = Image.new("RGB", (24, 24), colour)
    image.paste("black", (0, 0, 9, 5))
    return image


def asked(processor, count, text="<image>what", colour="red"):
    return processor(images=[picture(colour)], text=[text], num_image_tokens=count, return_tensors="pt")


@torch.no_grad()
def test_each_call_has_the_tokens_it_asks_for_and_leaves_nothing_behind(made):
    model, processor = made
    own = asked(processor, None)
    before = model(**own).logits
    for count in (4, 9, 16, 36):
        inputs = asked(processor, count)
        assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == count
        assert model(**inputs).logits.shape[1] == count + 4
        assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] <= count + 6
        assert torch.equal(model(**own).logits, before)
    single = {name: value for name, value in asked(processor, 16).items() if name != "num_image_tokens"}
    assert model(**single, num_image_tokens=16).logits.shape[1] == 20


@torch.no_grad()
def test_pictures_of_several_budgets_share_a_call(made):
    model, processor = made
    one, other = asked(processor, 4), asked(processor, 16, colour="blue")
    ids = torch.cat([one["input_ids"], other["input_ids"]], 1)
    pixels = torch.cat([one["pixel_values"], other["pixel_values"]])
    both = model(input_ids=ids, pixel_values=pixels, num_image_tokens=torch.tensor([4, 16])).logits
    gap = room(lambda move: move(copy.deepcopy(model))(**one).logits)
    assert (both[:, :8] - model(**one).logits).abs().max() <= gap
    features = model.get_image_features(pixel_values=pixels, num_image_tokens=torch.tensor([4, 16]))
    assert [len(each) for each in features.pooler_output] == [4, 16]
    with pytest.raises(ValueError, match="1 numbers for 2 pictures"):
        model(input_ids=ids, pixel_values=pixels, num_image_tokens=torch.tensor([4]))


def test_placeholders_and_features_that_differ_are_refused(made):
    model, processor = made
    inputs = {**asked(processor, 16), "num_image_tokens": 9}
    with pytest.raises(ValueError, match="Image features and image tokens do not match, tokens: 16"):
        model(**inputs)


@torch.no_grad()
def test_saved_and_loaded_by_transformers_it_is_the_same(made, tmp_path):
    model, processor = made
    model.save_pretrained(tmp_path), processor.save_pretrained(tmp_path)
    again, reader = (kind.from_pretrained(tmp_path) for kind in (AutoModelForImageTextToText, AutoProcessor))
    assert isinstance(again, FlexibleLlavaForConditionalGeneration)
    assert isinstance(reader, FlexibleLlavaProcessor)
    assert (again.config.num_image_tokens, again.config.projector_pooling) == (9, "resample")
    for count in (4, 9, 36):
        inputs = asked(reader, count)
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_the_placeholder_has_no_gradient_and_the_projector_has(made):
    model, processor = made
    model.zero_grad()
    model(**asked(processor, 16)).logits.square().sum().backward()
    mark = model.config.image_token_id
    assert float(model.get_input_embeddings().weight.grad[mark].abs().max()) == 0
    assert all(float(w.grad.abs().max()) > 0 for w in model.model.multi_modal_projector.parameters())


def test_only_a_llava_is_changed():
    with pytest.raises(ValueError, match="changes a LlavaForConditionalGeneration, got LlamaForCausalLM"):
        flexify(SmallLlama(hidden_size=16, heads=2, layers=1).build()[0])
    with pytest.raises(ValueError, match="nearest: 9 and 16"):
        flexify(SMALL.build()[0], 10)


# the collator and the loss


def test_a_batch_has_one_drawn_budget_and_labels_on_answers_alone(made):
    _, processor = made
    collate = FlexVisionCollator(processor, BudgetSampler((4, 16), seed=1))
    samples = [
        {"text": "<image>what", "answer": "red", "images": [picture("red")]},
        {"text": "what", "answer": "ok"},
        {"text": "<image>and<image>", "answer": "two", "images": [picture("red"), picture("blue")]},
    ]
    drawn = []
    for _ in range(6):
        batch = collate(samples)
        counts = set(batch["num_image_tokens"].tolist())
        assert len(counts) == 1 and len(batch["pixel_values"]) == 3
        count = counts.pop()
        drawn.append(count)
        marks = (batch["input_ids"] == processor.image_token_id).sum(1).tolist()
        assert marks == [count, 0, 2 * count]
        assert (batch["labels"] != -100).sum(1).tolist() == [4, 3, 4]
        kept = batch["labels"] != -100
        assert torch.equal(batch["labels"][kept], batch["input_ids"][kept])
    assert set(drawn) == {4, 16} and collate.sampler.drawn == 6
    with pytest.raises(ValueError, match="sample 0: the text has 1 places <image> for 0 pictures"):
        collate([{"text": "<image>", "answer": "a"}])
    short = FlexVisionCollator(processor, BudgetSampler((36,)), longest=20)
    with pytest.raises(ValueError, match="44 tokens with 36 a picture, but the model reads 20; 9 tokens a"):
        short(samples[:1])


def test_an_answer_of_n_tokens_weighs_the_root_of_n():
    # two samples: 4 answer tokens of CE 1 each, and 1 of CE 2: (0.5 * 4 + 2) / (0.5 * 4 + 1) = 4/3
    labels = torch.tensor([[-100, 0, 0, 0, 0], [-100, -100, -100, -100, 0]])
    logits = torch.zeros(2, 5, 2)
    for row, loss in enumerate((1.0, 2.0)):  # log(1 + e^x) = loss
        logits[row, :, 1] = torch.tensor(loss).exp().sub(1).log()
    assert float(square_average_loss(logits, labels)) == pytest.approx(4 / 3, abs=1e-6)
    assert float(square_average_loss(logits, torch.full_like(labels, -100))) == 0
