"""Checkpoints in the layout of the weights that were released (TiTok's code, One-D-Piece's second stage).

    config.json          {dataset: {preprocessing: {crop_size}}, model: {vq_model: {...}}}
    model.safetensors    encoder.*  decoder.*  latent_tokens  quantize.*  pixel_quantize.*  pixel_decoder.*

Those weights were trained with tokens cut out of the encoder's outputs in the wrong order, which
`legacy_reshape` repeats.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from oneloop.core import storage
from oneloop.models.image_tokenizer.config import TokenizerConfig, read_config
from oneloop.models.image_tokenizer.tokenizer import WEIGHTS, OneDTokenizer, fit

SIZES = {"small": (512, 8, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""{name: (width, layers, heads)}."""


def open_tokenizer(folder: Path | str) -> OneDTokenizer:
    """A tokenizer that was saved here, or one in the released layout; a run stands for its newest checkpoint.

    Raises ValueError naming what is wrong.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists() and (saved := storage.numbered(folder, "checkpoint-{}")):
        folder = saved[max(saved)]
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raw = None
    if isinstance(raw, dict) and (released := _released(raw)) is not None:
        return load_released(folder, released)
    read_config(folder)  # says what is wrong
    return OneDTokenizer.from_pretrained(folder)


def _released(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The released config inside `raw`; None: it is none."""
    inner = raw.get("config", raw)
    model = inner.get("model") if isinstance(inner, dict) else None
    return inner if isinstance(model, dict) and "vq_model" in model else None


def load_released(folder: Path, raw: Mapping[str, Any]) -> OneDTokenizer:
    """The tokenizer in `folder`, whose config is `raw`. Raises ValueError for weights that do not fit."""
    where = str(folder / WEIGHTS)
    try:
        state = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors has an error of its own for files that are none
        raise ValueError(f"cannot read {where}: {error}") from None
    config = config_of(raw, state, where)
    tokenizer = OneDTokenizer(config)
    fit(tokenizer, state, where)
    return tokenizer.eval()


def config_of(raw: Mapping[str, Any], state: Mapping[str, Tensor], where: str) -> TokenizerConfig:
    """What a released config says; what only the weights know (the pixel decoder's sizes) from `state`.

    Raises ValueError naming what is missing.
    """
    try:
        vq, size = raw["model"]["vq_model"], raw["dataset"]["preprocessing"]["crop_size"]
        width, layers, heads = _size(vq["vit_enc_model_size"])
        if vq["vit_dec_model_size"] != vq["vit_enc_model_size"]:
            raise ValueError(f"{where}: encoder and decoder of unlike size are not supported")
        if not vq["use_l2_norm"]:
            raise ValueError(f"{where}: a codebook without l2 norm is not supported")
        sizes = {
            "image_size": size,
            "channels": 3,
            "patch": vq["vit_enc_patch_size"],
            "tokens": vq["num_latent_tokens"],
            "codebook_size": vq["codebook_size"],
            "code_dims": vq["token_size"],
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"{where}: config.json lacks {error}") from None
    if "pixel_decoder.conv_in.weight" not in state:
        raise ValueError(f"{where} has no pixel decoder: it is of the first stage, which makes no images")
    return TokenizerConfig(
        **sizes,
        hidden_size=width,
        layers=layers,
        heads=heads,
        predicts="codes",
        legacy_reshape=vq.get("is_legacy") is not False,
        **pixel_sizes(state, "pixel_quantize.", "pixel_decoder."),
    )


def _size(name: Any) -> tuple[int, int, int]:
    """(width, layers, heads) of a size by name, or as a list of the three."""
    if isinstance(name, str) and name in SIZES:
        return SIZES[name]
    if isinstance(name, list | tuple) and len(name) == 3:
        return int(name[0]), int(name[1]), int(name[2])
    raise ValueError(f"a model's size is one of {', '.join(SIZES)}, got {name!r}")


def pixel_sizes(state: Mapping[str, Tensor], codebook: str, decoder: str) -> dict[str, Any]:
    """The sizes of a teacher's codebook and pixel decoder, read off the weights under these two beginnings.

    Raises KeyError for a codebook, IndexError for a decoder that is not there.
    """
    codes, dims = state[f"{codebook}embedding.weight"].shape
    widths: list[int] = []
    while (name := f"{decoder}up.{len(widths)}.block.0.conv1.weight") in state:
        widths.append(len(state[name]))
    blocks = sum(name.startswith(f"{decoder}mid.") and name.endswith("conv1.weight") for name in state)
    return {
        "proxy_codes": codes,
        "proxy_dims": dims,
        "pixel_channels": widths[0],
        "pixel_multiples": tuple(width // widths[0] for width in widths),
        "pixel_blocks": blocks,
    }
