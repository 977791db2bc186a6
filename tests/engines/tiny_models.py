"""Tiny causal models with random weights, one for each architecture the engine is proven on."""

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
)

VOCABULARY = 61
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "initializer_range": 0.2,  # far from uniform, so that greedy choices are clear
}
SLIDING = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 7}
ARCHITECTURES = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 7},
    "qwen3": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0, **SLIDING},
    "gemma3_text": {"head_dim": 16, "query_pre_attn_scalar": 16, **SLIDING},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128, "vocab_size": VOCABULARY},
    "mistral": {"sliding_window": 6, "head_dim": 8},
    "phi3": {"sliding_window": 9},
    "olmo2": {},
}

MIXTURE = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
FURTHER = {
    # logits are the head's times one number
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    "granitemoe": {"logits_scaling": 4.0, **MIXTURE},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25, "sliding_window": 7},
    "minicpm3": {"dim_model_base": 8, "num_key_value_heads": 4, **LATENT},
    # keyword arguments are not passed down to the attention
    "stablelm": {},
    "nemotron": {},
    # heads of one layer are larger than those of another
    "gemma4_text": {
        "head_dim": 8,
        "global_head_dim": 16,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 0,
        **SLIDING,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
}
REFUSED = {
    "llama4_text": ({"head_dim": 8, "intermediate_size_mlp": 48, **MIXTURE}, "chunked_attention layers"),
    "mamba": ({}, "linear_attention layers"),
    "bloom": ({"n_layer": 2, "n_head": 4}, "attention is of a kind that is not supported"),
    "gpt_oss": ({"head_dim": 8, "sliding_window": 7, **MIXTURE}, "uses attention sinks"),
    "bert": ({"is_decoder": True}, "does more to its logits"),
}


def tiny(name: str, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A model of architecture `name` in training mode, as a trainer would hold it."""
    torch.manual_seed(seed)
    if name == "gpt2":
        kept = ("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range")
        common = {key: COMMON[key] for key in kept}
    else:
        common = COMMON
    own = {**ARCHITECTURES, **FURTHER}[name] if name not in REFUSED else REFUSED[name][0]
    config = AutoConfig.for_model(name, **{**common, **own, **changes})
    return AutoModelForCausalLM.from_config(config).train()


# the smallest models of many more architectures: width 16, two layers
SMALLEST = {
    **COMMON,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
EXPERTS = {
    **MIXTURE,
    **LATENT,
    "num_experts": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "moe_intermediate_size": 16,
    "shared_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "n_inner": 24, "rotary_dim": 4}
PLAIN = [
    "phi",
    "olmo",
    "olmo3",
    "starcoder2",
    "smollm3",
    "seed_oss",
    "arcee",
    "apertus",
    "glm",
    "glm4",
    "ernie4_5",
    "exaone4",
    "bitnet",
    "persimmon",
    "ministral3",
    "youtu",
    "gpt_neox",
    "biogpt",
    "doge",
    "lfm2",
    "nanochat",
    "jais2",
    "exaone",
    "afmoe",
    "flex_olmo",
]
WITH_EXPERTS = [
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "olmoe",
    "phimoe",
    "granitemoeshared",
    "deepseek_v2",
    "deepseek_v3",
    "glm4_moe",
    "ernie4_5_moe",
    "dots1",
    "jetmoe",
]
BROAD: dict[str, dict[str, object]] = {
    **{name: {} for name in PLAIN},
    **dict.fromkeys(WITH_EXPERTS, EXPERTS),
    **dict.fromkeys(("gpt_bigcode", "gptj", "codegen", "ctrl"), GPT),
    **{name: {"head_dim": 8} for name in ("gemma", "vaultgemma", "helium", "hunyuan_v1_dense", "ministral")},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16},
}
"""Architectures whose smallest models sample what they learn, with the options that those need."""
BROADLY_REFUSED: dict[str, tuple[dict[str, object], str]] = {
    **{name: ({}, "its logits are off by") for name in ("falcon", "rwkv", "bart", "diffllama")},
    "mpt": ({"d_model": 16, "n_heads": 2, "n_layers": 2}, "its logits are off by"),
    "gpt_neo": (
        {"num_layers": 2, "num_heads": 2, "attention_types": [[["global"], 2]]},
        "its logits are off by",
    ),
    **{name: ({}, "linear_attention layers") for name in ("olmo_hybrid", "minimax", "recurrent_gemma")},
}


def smallest(name: str) -> PreTrainedModel:
    """A model of one of those architectures."""
    torch.manual_seed(0)
    own = BROAD[name] if name in BROAD else BROADLY_REFUSED[name][0]
    config = AutoConfig.for_model(name, **{**SMALLEST, **own})
    return AutoModelForCausalLM.from_config(config).train()
