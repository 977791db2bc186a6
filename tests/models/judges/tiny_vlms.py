"""Vision-language models of a few thousand weights with processors of their own, built from configuration."""

import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

SPECIAL = (
    *(
        "<pad>",
        "<unk>",
        "<s>",
        "</s>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|vision_start|>",
        "<|vision_end|>",
    ),
    *("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"),
)
WORDS = ("Yes", "No", "user", "better", "image", "consistency", "fill", "Which", "Whose", "-", "seven")
IMAGE = {
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "idefics3": "<image>",
}


def tokenizer():
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(SPECIAL[4:]),
    )


def template(kind):
    return (
        "{% for message in messages %}user {% for part in message.content %}"
        "{% if part.type == 'image' %}" + IMAGE[kind] + "{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}{% endfor %}"
    )


TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": len(SPECIAL) + len(WORDS),
    "max_position_embeddings": 512,
}


class WithoutVideos(transformers.Qwen2VLProcessor):
    """Its video half needs torchvision, which nothing here does."""

    def check_argument_for_proper_class(self, name, argument):
        return type(argument)


def qwen2_vl():
    words = tokenizer()
    ids = words.convert_tokens_to_ids
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    configuration = transformers.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": rope, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={
            "depth": 1,
            "embed_dim": 16,
            "hidden_size": 16,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    pictures = transformers.Qwen2VLImageProcessor(
        patch_size=4, merge_size=2, size={"shortest_edge": 64, "longest_edge": 4096}
    )
    processor = WithoutVideos(pictures, words, chat_template=template("qwen2_vl"))
    return transformers.Qwen2VLForConditionalGeneration(configuration), processor


def idefics3(size=16):
    words = tokenizer()
    configuration = transformers.Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": size,
            "patch_size": 4,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    pictures = transformers.Idefics3ImageProcessor(
        size={"longest_edge": size}, max_image_size={"longest_edge": size}, do_image_splitting=False
    )
    processor = transformers.Idefics3Processor(
        pictures, words, image_seq_len=(size // 4) ** 2 // 4, chat_template=template("idefics3")
    )
    return transformers.Idefics3ForConditionalGeneration(configuration), processor


BUILT = {"qwen2_vl": qwen2_vl, "idefics3": idefics3}
