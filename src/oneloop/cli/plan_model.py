"""The model and the batch that `oneloop plan` plans for: from a configuration alone, on the meta device."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from oneloop.core import hub
from oneloop.core.named import NoSuchModel, model_named
from oneloop.parallel.placement.fault import PlacementError


def built(where: str, dtype: torch.dtype, *, real: bool = False) -> nn.Module:
    """The model that a folder, a hub name or a config.json describes, with random weights.

    Attention is eager and experts run as one product, so that the step has fixed shapes. On the meta device
    unless `real`. Raises PlacementError where there is no configuration or no model class for it.
    """
    import transformers

    path = Path(where)
    folder = path.parent if path.name == "config.json" else path
    if path.name == "config.json" and not path.is_file():
        raise PlacementError(f"there is no file {path}")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise PlacementError(f"the folder {folder} has no config.json, which describes a model")
    try:
        config = transformers.AutoConfig.from_pretrained(
            str(folder) if folder.is_dir() else model_named(where)
        )
    except NoSuchModel as error:
        raise PlacementError(str(error)) from None
    except (OSError, ValueError) as error:
        said = hub.why(where, error).splitlines()[0]
        raise PlacementError(f"no configuration of a model in '{where}': {said}") from error
    config.use_cache = False
    config._attn_implementation = "eager"
    config._experts_implementation = "batched_mm"
    names = [name for name in config.architectures or () if hasattr(transformers, name)]
    with torch.device("cpu" if real else "meta"):
        if names:
            made = getattr(transformers, names[0])._from_config(config)
        else:
            try:
                made = transformers.AutoModelForCausalLM.from_config(config)
            except ValueError as error:
                raise PlacementError(
                    f"the configuration of '{where}' names no model class (architectures)"
                ) from error
    model: nn.Module = made.to(dtype).eval()
    return model


def sample(config: Any, batch: int, length: int, dtype: torch.dtype) -> dict[str, Any]:
    """A random batch for the model of a configuration: pixels and classes, or tokens and labels."""
    drawn = torch.Generator().manual_seed(0)
    if hasattr(config, "image_size") and not hasattr(config, "vocab_size"):
        side = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
        pixels = torch.randn(batch, getattr(config, "num_channels", 3), side, side, generator=drawn)
        labels = torch.randint(0, config.num_labels, (batch,), generator=drawn)
        return {"pixel_values": pixels.to(dtype), "labels": labels}
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is None:
        raise PlacementError(
            f"{type(config).__name__} has neither a vocabulary nor an image size: plan it in Python"
        )
    longest = getattr(config, "max_position_embeddings", None) or length
    if length > longest:
        raise PlacementError(f"--length: the model takes at most {longest} tokens, got {length}")
    tokens = torch.randint(0, vocabulary, (batch, length), generator=drawn)
    return {"input_ids": tokens, "labels": tokens.clone()}
