"""Vision-language models of a few thousand weights, of every family, with processors of their own."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from PIL import Image

from oneloop.models.vision_language.small_llava import SmallLlava
from tests.models.judges import tiny_vlms
from tests.models.judges.tiny_vlms import SPECIAL, TEXT, WithoutVideos, idefics3, tokenizer

LETTERS = {"alphabet": "abcdefghijklmnopqrstuvwxyz0123456789 ?.", "hidden_size": 16, "heads": 2, "layers": 1}
WORDS = ["Which image", "Whose", "image better"]
VISION = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "in_channels": 3,
    "out_hidden_size": 16,
}


@dataclass(frozen=True)
class Made:
    """A part of the room of vision-language models."""

    kind: str
    seed: int = 0

    def build(self) -> tuple[Any, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model, processor = BUILT[self.kind]()
            return model.eval(), processor


def llava_siglip():
    return SmallLlava(**LETTERS, image_size=16, patch_size=8).build()


def llava_clip_qwen2():
    """A CLIP tower, whose class token is left out, and a Qwen2 with sliding windows switched off."""
    _, processor = llava_siglip()
    words = processor.tokenizer
    text = {name: value for name, value in TEXT.items() if name != "vocab_size"}
    configuration = transformers.LlavaConfig(
        text_config=transformers.Qwen2Config(**text, vocab_size=len(words), eos_token_id=words.eos_token_id),
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        ),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    pictures = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    processor = transformers.LlavaProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=processor.chat_template,
    )
    return transformers.LlavaForConditionalGeneration(configuration), processor


def qwen_tokens(words):
    ids = words.convert_tokens_to_ids
    return {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }


def qwen_pictures(words):
    pictures = transformers.Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, size={"shortest_edge": 64, "longest_edge": 1024}
    )
    return WithoutVideos(pictures, words, chat_template=tiny_vlms.template("qwen2_vl"))


class Qwen25Processor(WithoutVideos):
    """Of Qwen2.5-VL too."""


def qwen2_5_vl():
    words = tokenizer()
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = {**TEXT, "rope_parameters": rope, "bos_token_id": 2, "eos_token_id": 3}
    vision = {**VISION, "window_size": 16, "fullatt_block_indexes": [0]}
    configuration = transformers.Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, **qwen_tokens(words)
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(configuration), qwen_pictures(words)


def qwen3_vl():
    words = tokenizer()
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
    text = {**TEXT, "head_dim": 8, "rope_parameters": rope, "bos_token_id": 2, "eos_token_id": 3}
    vision = {**VISION, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    configuration = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **qwen_tokens(words))
    return transformers.Qwen3VLForConditionalGeneration(configuration), qwen_pictures(words)


class PicturesOnly(transformers.InternVLProcessor):
    """Its video half needs torchvision, which nothing here does."""

    def check_argument_for_proper_class(self, name, argument):
        return type(argument)


def internvl():
    words = tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]})
    for name, token in {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }.items():
        setattr(words, name, token)
        setattr(words, f"{name}_id", words.convert_tokens_to_ids(token))
    configuration = transformers.InternVLConfig(
        text_config=transformers.Qwen2Config(**{**TEXT, "vocab_size": len(words), "eos_token_id": 3}),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": [16, 16],
            "patch_size": [4, 4],
        },
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    pictures = transformers.GotOcr2ImageProcessorPil(size={"height": 16, "width": 16}, crop_to_patches=False)
    template = tiny_vlms.template("idefics3").replace("<image>", "<IMG_CONTEXT>")
    processor = PicturesOnly(pictures, words, image_seq_length=4, chat_template=template)
    return transformers.InternVLForConditionalGeneration(configuration), processor


BUILT = {
    "llava_siglip": llava_siglip,
    "llava_clip_qwen2": llava_clip_qwen2,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "idefics3": idefics3,
    "internvl": internvl,
}
FAMILIES = tuple(BUILT)


def picture(colour: str, size: tuple[int, int] = (16, 16)) -> Image.Image:
    """A picture with a bar of black, so that it is no single number."""
    made = Image.new("RGB", size, colour)
    made.paste("black", (0, 0, size[0] // 3, size[1] // 2))
    return made


def rows(kind: str) -> list[dict]:
    """Questions with pictures of several sizes, two of one text, one of two pictures and one of none."""
    words = ["what colour?", "how many?"] if kind.startswith("llava") else ["Which image", "Whose"]

    def said(text):
        return [{"role": "user", "content": [{"type": "text", "text": text}]}]

    return [
        {"prompt": said(words[0]), "image": picture("red")},
        {"prompt": said(words[0]), "image": picture("blue")},
        {"prompt": said(words[1]), "images": [picture("green", (24, 16)), picture("yellow", (16, 24))]},
        {"prompt": said(words[1])},
    ]


assert SPECIAL
