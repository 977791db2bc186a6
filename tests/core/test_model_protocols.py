"""A vision-language model and an image tokenizer of one's own, each from its protocol's text, and trained."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from oneloop.core import protocols
from oneloop.core.part import part
from oneloop.core.rooms import build
from oneloop.recipe.recipe import load_recipe
from oneloop.run.evaluation import held_out
from tests.support.training import assert_equal, cut_and_resumed, outcome, run_quietly

HERE = "tests.core.test_model_protocols"
LETTERS = "ab"


# a vision-language model


@part()
class Pictures:
    """Data: white pictures are called a, black ones b."""

    def __len__(self):
        return 4

    def __getitem__(self, key):
        image = torch.full((3, 8, 8), float(key % 2 == 0)).numpy()
        content = [{"type": "image"}, {"type": "text", "text": "a"}]
        answer = LETTERS[key % 2]
        return {
            "prompt": [{"role": "user", "content": content}],
            "image": image,
            "completion": answer,
            "answer": answer,
        }


@part()
class LittleLlava:
    """Vision-language model: a CLIP tower before a Llama, put together from transformers' own classes."""

    def build(self):
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers
        from transformers import (
            CLIPImageProcessor,
            CLIPVisionConfig,
            LlamaConfig,
            LlavaConfig,
            LlavaForConditionalGeneration,
            LlavaProcessor,
            PreTrainedTokenizerFast,
        )

        vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", "<image>", *LETTERS])}
        letters = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
        letters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>")
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
        template = (
            "{% for message in messages %}{% for part in message['content'] %}"
            "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endfor %}"
        )
        side = {"height": 8, "width": 8}
        processor = LlavaProcessor(
            CLIPImageProcessor(size=side, crop_size=side),
            tokenizer,
            patch_size=4,
            vision_feature_select_strategy="default",
            chat_template=template,
            num_additional_image_tokens=1,
        )
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        ends = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = LlavaConfig(
                vision_config=CLIPVisionConfig(**shape, image_size=8, patch_size=4),
                text_config=LlamaConfig(vocab_size=5, max_position_embeddings=32, **shape, **ends),
                image_token_id=2,
                vision_feature_layer=-1,
            )
            return LlavaForConditionalGeneration(config), processor


def test_a_vision_language_model_of_ones_own_learns_what_it_sees(tmp_path):
    model = {f"{HERE}.LittleLlava": {}}
    phase = {
        "sample": "demonstrations",
        "plan": {"data": {f"{HERE}.Pictures": {}}, "groups": 4},
        "objective": ["supervised"],
        "learner": {"learning_rate": 0.02},
        "steps": 20,
    }
    policy = {"vision_language": {"model": model, "max_new_tokens": 3, "freeze_vision": False}}
    run = run_quietly(load_recipe({"policy": policy, **phase})[0], tmp_path / "run")
    assert all(line["grad_norm"] > 0 for line in run.history)
    with run.policy.greedy():
        finished, _ = run.policy.sample(held_out(build("data", {f"{HERE}.Pictures": {}}), 4, 1, 0))
    assert finished.text == ["a", "b", "a", "b"]


# an image tokenizer


class Rounded(NamedTuple):
    codes: Tensor
    indices: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """Rounds to the nearest code; the gradient passes straight through."""

    def __init__(self, codes, dims):
        super().__init__()
        self.codes = nn.Parameter(torch.randn(codes, dims))

    def forward(self, vectors):
        indices = torch.cdist(vectors, self.codes[None]).argmin(-1)
        nearest = self.codes[indices]
        loss = ((nearest - vectors.detach()).square() + (nearest.detach() - vectors).square()).mean((1, 2))
        return Rounded(vectors + (nearest - vectors).detach(), indices, loss)

    @torch.no_grad()
    def revive(self, used, vectors, order):
        unused = (used == 0).nonzero().squeeze(1)[: len(order)]
        self.codes[unused] = vectors[order[: len(unused)]]


class Halves(nn.Module):
    """Two codes a picture, by one matrix in each direction."""

    config = SimpleNamespace(
        picture=(1, 8, 8), tokens=2, codebook_size=6, code_dims=3, predicts="pixels", grid=1, layers=1
    )
    config.hidden_size = 64

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 6), nn.Linear(6, 64)
        self.quantize = Codebook(6, 3)

    def vectors(self, images):
        return self.encoder(images.flatten(1)).view(-1, 2, 3)

    @torch.no_grad()
    def encode(self, images):
        return self.quantize(self.vectors(images)).indices

    def render(self, codes, lengths=None):
        if lengths is not None:
            there = torch.arange(codes.shape[1]) < torch.as_tensor(lengths).view(-1, 1)
            codes = codes * there[..., None]
        return self.decoder(codes.flatten(1)).view(-1, 1, 8, 8)

    def decode(self, indices, lengths=None):
        return self.render(self.quantize.codes[indices], lengths).clamp(0, 1)

    def save_pretrained(self, folder):
        save_file(self.state_dict(), folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder):
        made = cls()
        made.load_state_dict(load_file(folder / "model.safetensors"))
        return made


@part()
class HalvesModel:
    """Image tokenizer."""

    def build(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Halves()


def tokenized(directory, resume=False):
    """A run that trains `Halves` on digits."""
    raw = {
        "policy": {"image_tokenizer": {"model": {f"{HERE}.HalvesModel": {}}, "revive_every": 2}},
        "sample": "demonstrations",
        "plan": {
            "data": "digits",
            "groups": 16,
            "dress": [{"draw_budget": {"most": 2, "each": "rollout"}}],
        },
        "objective": ["reconstruction"],
        "learner": {"learning_rate": 0.01},
        "steps": 6,
        "save_every": 2,
    }
    return run_quietly(load_recipe(raw)[0], directory, resume)


def test_an_image_tokenizer_of_ones_own_learns_and_resumes_to_the_bit(tmp_path):
    run = tokenized(tmp_path / "whole")
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert_equal(outcome(tmp_path / "whole"), cut_and_resumed(tokenized, tmp_path / "cut", step=5))
    asked = held_out(build("data", "digits"), 3, 1, 0)
    finished, _ = run.policy.sample(asked)
    again = run.recipe.policy.open(str(tmp_path / "whole" / "checkpoint-6"))
    assert torch.equal(again.sample(asked)[0].output, finished.output)
    assert finished.output.shape == (3, 1, 8, 8) and finished.length.tolist() == [2, 2, 2]


@pytest.mark.parametrize("made", [Halves(), HalvesModel().build()])
def test_nothing_that_the_protocol_names_is_missing_here(made):
    wanted = [*vars(protocols.ImageTokenizerNetwork).get("__annotations__", {})]
    wanted += [name for name in vars(protocols.ImageTokenizerNetwork) if not name.startswith("_")]
    assert not [name for name in wanted if not hasattr(made, name)]
