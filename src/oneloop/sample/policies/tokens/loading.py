"""A causal language model and its tokenizer from a hub name, a folder or a `models` part, adapters above it.

Every fault is a sentence that begins with the option. Code from a folder or the hub is never run.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from oneloop.core import hub
from oneloop.core.named import NoSuchModel, model_named
from oneloop.sample.policies.tokens.faults import check_complete, why
from oneloop.sample.policies.tokens.lora import Lora, add_lora, take_up

ADAPTERS = "adapters"
"""Folder for adapters within a checkpoint whose model has them added to its weights."""
Model = Any  # a transformers model, or PEFT's wrapper around one
Tokenizer = Any  # or a processor, which has one


@dataclass(frozen=True)
class Kind:
    """A kind of model, and how transformers loads it."""

    option: str
    """The option that names the model."""
    models: Any
    """The class that loads weights."""
    readers: Any
    """The class that loads what reads prompts: a tokenizer or a processor."""
    words: str


LANGUAGE = Kind("policy.language.model", AutoModelForCausalLM, AutoTokenizer, "a causal language model")


@dataclass(frozen=True)
class Opened:
    """A model with its weights."""

    model: Model
    tokenizer: Tokenizer
    base: str | None
    """Where the weights below adapters are found again: a hub name or a folder; None: nowhere."""


def open_model(model: Any, dtype: torch.dtype, lora: Lora | None, kind: Kind = LANGUAGE) -> Opened:
    """The model in `dtype`, ready to be trained. `model`: a hub name, a folder, or a part with `build()`.

    A folder of adapters is its base model with them: trained on where `lora` describes them, else added to
    its weights (see lora.py). Raises ValueError naming `model` when it cannot be loaded, or when a weight is
    missing or not a finite number.
    """
    logging.disable_progress_bar()  # a run draws its own bars
    if not isinstance(model, str):
        built, tokenizer = model.build()
        built = built.to(dtype)
        return Opened(add_lora(built, lora) if lora else built, tokenizer, None)
    tokenizer, base = load_tokenizer(model, kind), base_of(model, kind)
    loaded = _weights(base, dtype, kind)
    where: str | None = str(Path(base).resolve()) if Path(base).exists() else base
    if base != model:
        try:
            with hub.asked(model):
                loaded, apart = take_up(loaded, model, lora, lambda: _outline(base, dtype, kind))
        except ValueError as error:
            raise ValueError(f"{kind.option}: {error}") from error
        where = where if apart else None
    elif lora:
        loaded = add_lora(loaded, lora)
    _check_finite(loaded, model, kind)
    return Opened(loaded, tokenizer, where)


def outline(
    model: Any, dtype: torch.dtype, lora: Lora | None, kind: Kind = LANGUAGE
) -> tuple[Model, Tokenizer]:
    """(the model as it will be trained, without memory for its weights; its tokenizer).

    Raises ValueError naming `model` when there is none, or none of this kind.
    """
    if isinstance(model, str):
        tokenizer, empty = load_tokenizer(model, kind), _outline(base_of(model, kind), dtype, kind)
    else:
        with torch.device("meta"):
            empty, tokenizer = model.build()
        empty = empty.to(dtype)
    return add_lora(empty, lora) if lora else empty, tokenizer


def load_tokenizer(model: str, kind: Kind = LANGUAGE) -> Tokenizer:
    """The tokenizer of a model, or of adapters; adapters without one have their base model's."""
    try:
        return _asked(model, lambda: kind.readers.from_pretrained(model, trust_remote_code=False), kind)
    except ValueError:
        base = base_of(model, kind)
        if base == model:
            raise
        return _asked(base, lambda: kind.readers.from_pretrained(base, trust_remote_code=False), kind)


def load_config(model: str, kind: Kind = LANGUAGE) -> Any:
    """The configuration of the model, below adapters where `model` are adapters.

    Raises ValueError where there is none, or its weights are quantised.
    """
    base = base_of(model, kind)
    config = _asked(base, lambda: AutoConfig.from_pretrained(base, trust_remote_code=False), kind)
    if packed := getattr(config, "quantization_config", None):
        method = packed.get("quant_method") if isinstance(packed, dict) else packed.quant_method
        raise ValueError(
            f"{kind.option}: the weights of '{base}' are quantised ({method}); such are not trained "
            "here; take the model that they were made of, with lora: {rank: 16} to save memory"
        )
    return config


def base_of(model: str, kind: Kind = LANGUAGE) -> str:
    """The model below a folder (or a repository) of adapters; any other name as it is."""
    from peft import PeftConfig
    from transformers.utils.peft_utils import find_adapter_config_file

    if Path(model).exists() and not (Path(model) / "adapter_config.json").exists():
        return model
    _asked(model, lambda: None, kind)  # a folder that is not there is not looked for on a hub
    try:
        with hub.asked(model):
            adapters = find_adapter_config_file(model)
        if adapters is None:
            return model
    except OSError:  # there is no such repository: whoever loads the model says it better
        return model
    base = _asked(model, lambda: PeftConfig.from_pretrained(model), kind).base_model_name_or_path
    if not base:
        raise ValueError(f"{kind.option}: the adapters in '{model}' do not say which model they belong to")
    if Path(base).exists() and Path(base).samefile(model):
        raise ValueError(f"{kind.option}: the adapters in '{model}' say that they belong to themselves")
    try:
        return model_named(str(base))
    except NoSuchModel as error:
        raise ValueError(
            f"{kind.option}: the adapters in '{model}' belong to '{base}', and {error.why}; write where it "
            "is into adapter_config.json (base_model_name_or_path)"
        ) from None


def _weights(name: str, dtype: torch.dtype, kind: Kind) -> Model:
    def load() -> Any:
        return kind.models.from_pretrained(
            name,
            dtype=dtype,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, in words
        )

    load_config(name, kind)
    report = getLogger("transformers.utils.loading_report")
    before, report.disabled = report.disabled, True  # what it says is said below
    try:
        loaded, found = _asked(name, load, kind)
    finally:
        report.disabled = before
    check_complete(loaded, found, name, kind.option)
    return loaded


def _outline(name: str, dtype: torch.dtype, kind: Kind) -> Model:
    config = load_config(name, kind)
    with torch.device("meta"):
        return _asked(name, lambda: kind.models.from_config(config, trust_remote_code=False), kind).to(dtype)


def _asked(name: str, load: Callable[[], Any], kind: Kind) -> Any:
    """The result of `load()`; errors of the libraries become a ValueError about `name`."""
    try:
        model_named(name)
        with hub.asked(name):
            return load()
    except Exception as error:
        raise ValueError(f"{kind.option}: cannot load '{name}'{why(name, error, kind.words)}") from error


@torch.no_grad()
def _check_finite(model: Model, name: str, kind: Kind) -> None:
    for weight, values in model.named_parameters():
        if not bool(values.isfinite().all()):
            raise ValueError(
                f"{kind.option}: '{name}' has weights that are not finite numbers ({weight}); the run that "
                "wrote it has diverged; take an earlier checkpoint"
            )


def save_weights(opened: Opened, folder: Path) -> None:
    """Writes the model as a folder that `from_pretrained` loads.

    Adapters are written alone where the model below them is found again; else the model with the adapters
    added to its weights, and the adapters beside it for the run to go on with.
    """
    model = opened.model
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder)
        return
    model.peft_config["default"].base_model_name_or_path = opened.base
    if opened.base is None:
        copy.deepcopy(model).merge_and_unload().save_pretrained(folder)
    with hub.asked(opened.base or ""):  # which is looked at for its vocabulary
        model.save_pretrained(folder if opened.base is not None else folder / ADAPTERS)


@torch.no_grad()
def load_weights(model: Model, folder: Path) -> None:
    """Copies the weights that `save_weights` left in `folder` into `model`, in place."""
    if hasattr(model, "peft_config"):
        from peft import load_peft_weights, set_peft_model_state_dict

        adapters = folder / ADAPTERS if (folder / ADAPTERS).exists() else folder
        set_peft_model_state_dict(model, load_peft_weights(str(adapters), device="cpu"))
        return
    stored = type(model).from_pretrained(folder, dtype=model.dtype).state_dict()
    for name, weight in model.state_dict().items():
        weight.copy_(stored[name])
