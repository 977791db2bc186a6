"""Make, save and load LoRA adapters (PEFT) on the transformer of a diffusers pipeline.

    W x + alpha / rank * B A x            A [rank, in], B [out, rank]

The file holds A and B, and alpha in its metadata, where a pipeline's `load_lora_weights` looks for it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from oneloop.models.seeded import seeded

ADAPTERS = "pytorch_lora_weights.safetensors"
NAME = "default"


def add_adapters(transformer: Any, rank: int, alpha: int, targets: Sequence[str]) -> Any:
    """`transformer`, frozen, with trainable fp32 adapters; their initial weights are always the same."""
    from peft import LoraConfig

    transformer.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=list(targets))
    with seeded(0):
        transformer.add_adapter(config, adapter_name=NAME)
    for weight in transformer.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return transformer


def save_adapters(pipeline: Any, folder: Path) -> None:
    """Writes the adapters of `pipeline.transformer` with their configuration."""
    from peft import get_peft_model_state_dict

    transformer = pipeline.transformer
    pipeline.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(transformer),
        weight_name=ADAPTERS,
        # without it a pipeline takes alpha = rank
        transformer_lora_adapter_metadata=transformer.peft_config[NAME].to_dict(),
    )


def load_adapters(transformer: Any, folder: Path) -> None:
    """Loads the weights that `save_adapters` wrote into the adapters that `transformer` has.

    Raises ValueError when they were saved with another rank or alpha.
    """
    from peft import set_peft_model_state_dict

    with safe_open(folder / ADAPTERS, framework="pt") as file:
        stored = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
    config = transformer.peft_config[NAME]
    for key, option, mine in (("r", "rank", config.r), ("lora_alpha", "alpha", config.lora_alpha)):
        if (theirs := stored.get(f"transformer.{key}", mine)) != mine:
            raise ValueError(
                f"the adapters in '{folder}' have {option} {theirs}, but "
                f"policy.flow.model.diffusion_pipeline.{option} is {mine}; set it to {theirs}"
            )
    weights = load_file(folder / ADAPTERS)
    own = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    set_peft_model_state_dict(transformer, own)
