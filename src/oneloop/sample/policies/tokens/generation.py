"""What a model's `generation_config.json` asks of sampling, and a recipe does not do.

A policy samples by the law of its recipe, which the learner must know to the last number; the file that comes
with a model is for those who only generate.
"""

from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig

from oneloop.core import hub

SAMPLING = ("temperature", "top_k", "top_p", "min_p")
"""Settings that a recipe has as well; they count in a file that says `do_sample: true`."""
OTHERS = (
    "repetition_penalty",
    "no_repeat_ngram_size",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "stop_strings",
    "min_new_tokens",
    "typical_p",
    "sequence_bias",
    "exponential_decay_length_penalty",
)
"""Settings that a recipe does not have."""


def unheeded(model: Any, law: Mapping[str, float]) -> str:
    """A sentence on settings of `model`'s file that differ from `law`, the recipe's; empty where none does.

    model: a hub name or a folder; anything else has no file.
    """
    if not isinstance(model, str):
        return ""
    try:
        with hub.asked(model):
            asked = GenerationConfig.from_pretrained(model).to_diff_dict()
    except (OSError, ValueError):  # it has none, or one that transformers does not read
        return ""
    names = [name for name in SAMPLING if asked.get("do_sample") and name in asked]
    differ = [name for name in names if asked[name] != law[name]]
    differ += [name for name in OTHERS if asked.get(name)]
    if not differ:
        return ""
    wanted = ", ".join(f"{name} {asked[name]}" for name in differ)
    return (
        f"the model's generation_config.json asks for {wanted}; rollouts are sampled as policy.language says "
        f"(temperature {law['temperature']:g}), so that training knows each token's probability"
    )
