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


def tiny(name: str, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A model of architecture `name` in training mode, as a trainer would hold it."""
    torch.manual_seed(seed)
    if name == "gpt2":
        kept = ("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range")
        common = {key: COMMON[key] for key in kept}
    else:
        common = COMMON
    config = AutoConfig.for_model(name, **{**common, **ARCHITECTURES[name], **changes})
    return AutoModelForCausalLM.from_config(config).train()
