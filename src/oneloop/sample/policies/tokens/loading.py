"""A causal language model and its tokenizer from a hub name, a folder or a `models` part; LoRA by PEFT."""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from oneloop.core.part import part


@part(paper="2106.09685")
class Lora:
    """Low-rank adapters on the linear layers instead of all weights."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the adapters."""
    alpha: Annotated[int, Field(gt=0)] = 32
    """Scale: the update is multiplied by alpha / rank."""
    targets: tuple[str, ...] | str = "all-linear"
    """Names of the layers that get an adapter."""


def load_model(model: Any, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model in `dtype`, tokenizer). `model`: hub name or folder, or an object with `build()`.

    A folder with a PEFT adapter loads its base model and the adapter. Raises ValueError with the name
    when nothing can be loaded; code from the hub is never run.
    """
    logging.disable_progress_bar()  # a run draws its own bars
    if not isinstance(model, str):
        built, tokenizer = model.build()
        return built.to(dtype), tokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    except (OSError, ValueError) as error:
        hint = (
            ""
            if "/" not in model or Path(model).exists()
            else " (is it downloaded, or the network reachable?)"
        )
        raise ValueError(f"policy.language.model: cannot load '{model}'{hint}: {error}") from error
    return loaded, tokenizer


def add_lora(model: PreTrainedModel, lora: Lora) -> Any:
    """`model` frozen, with trainable adapters."""
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):  # the adapters' first weights are drawn: the same ones always
        torch.manual_seed(0)
        return get_peft_model(model, config)


@torch.no_grad()
def load_weights(model: Any, folder: Path) -> None:
    """Copies the weights that `save_pretrained` left in `folder` into `model`, in place."""
    if hasattr(model, "get_base_model"):
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
        return
    stored = type(model).from_pretrained(folder, dtype=model.dtype).state_dict()
    for name, weight in model.state_dict().items():
        weight.copy_(stored[name])
