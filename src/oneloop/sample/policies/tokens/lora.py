"""Low-rank adapters on a language model, by PEFT: made new, gone on with, or added to the weights."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from transformers.pytorch_utils import Conv1D

from oneloop.core.part import part
from oneloop.models.seeded import seeded

WEIGHTS = (".safetensors", ".bin")
"""Endings of the file of weights in a folder of adapters."""


@part(paper="2106.09685")
class Lora:
    """Low-rank adapters on the linear layers instead of all weights."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the LoRA adapters."""
    alpha: Annotated[int, Field(gt=0)] = 32
    """LoRA scale: the adapters' output is multiplied by alpha / rank."""
    targets: tuple[str, ...] | str = "all-linear"
    """Names of the layers that get an adapter."""


def add_lora(model: Any, lora: Lora) -> Any:
    """`model` frozen, with new trainable adapters, which change nothing yet.

    Raises ValueError for `targets` that the model does not have.
    """
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    tower = vision_tower(model)
    # a vision tower takes adapters only where they are asked for by name
    spared = rf"{re.escape(tower)}\..*" if tower and targets == "all-linear" else None
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        exclude_modules=spared,
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in model.modules()),
        task_type="CAUSAL_LM",
    )
    with seeded(0):  # the adapters' first weights are drawn: the same ones always
        try:
            return get_peft_model(model, config)
        except ValueError as error:  # no layer of that name, or one that can have no adapter
            raise ValueError(f"policy.language.lora.targets: {error}") from error


def vision_tower(model: Any) -> str | None:
    """Name of the submodule of `model` that reads pixels; None where there is none."""
    kind = type(getattr(model.config, "vision_config", None))
    towers = (
        name
        for name, module in model.named_modules()
        if name and kind is not type(None) and type(getattr(module, "config", None)) is kind
    )
    return min(towers, key=len, default=None)


def take_up(model: Any, folder: str, lora: Lora | None, outline: Callable[[], Any]) -> tuple[Any, bool]:
    """(`model` with the adapters in `folder`, whether they are still apart from its weights).

    They stay apart, and are trained on, where `lora` describes just such adapters. Otherwise they are added
    to the weights, and `lora` begins new ones above those. `outline()` gives the model without memory for its
    weights. Raises ValueError for adapters that cannot be loaded or added.
    """
    from peft import PeftModel

    if Path(folder).is_dir() and not any((Path(folder) / f"adapter_model{end}").is_file() for end in WEIGHTS):
        raise ValueError(f"the adapters in '{folder}' have no weights: adapter_model.safetensors is missing")
    try:
        adapted = PeftModel.from_pretrained(model, folder, is_trainable=lora is not None)
    except Exception as error:  # a file that is missing or damaged, adapters of another model
        raise ValueError(f"cannot load the adapters in '{folder}': {error}") from error
    if lora is not None and _same(adapted, lora, outline):
        return adapted, True
    if adapted.active_peft_config.is_prompt_learning:
        kind = adapted.active_peft_config.peft_type
        raise ValueError(
            f"the adapters in '{folder}' are {kind}: they add virtual tokens; only LoRA is supported"
        )
    try:
        merged = adapted.merge_and_unload().requires_grad_(True)
    except Exception as error:
        raise ValueError(
            f"the adapters in '{folder}' cannot be added to their model's weights: {error}"
        ) from error
    return (add_lora(merged, lora), False) if lora is not None else (merged, False)


def _same(adapted: Any, lora: Lora, outline: Callable[[], Any]) -> bool:
    """Whether `lora` would make adapters of this very form."""
    has, wanted = adapted.active_peft_config, add_lora(outline(), lora)
    fields = (
        *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias"),
        *("lora_bias", "modules_to_save", "trainable_token_indices", "layer_replication"),
    )
    alike = all(getattr(has, name, None) == getattr(wanted.active_peft_config, name, None) for name in fields)
    return alike and _adapters(adapted) == _adapters(wanted)


def _adapters(model: Any) -> set[str]:
    return {name for name, _ in model.named_parameters() if "lora_" in name}
