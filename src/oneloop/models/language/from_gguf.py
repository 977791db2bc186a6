"""A GGUF file (the format of llama.cpp) as an ordinary Hugging Face folder with fp32 weights.

transformers reads GGUF but refuses to save what it read while the model is marked as quantised. So the model
is built anew from its configuration without that mark and gets the same weights; its logits are
compared before anything is written.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from oneloop.core.storage import write_folder


def convert(file: Path, folder: Path) -> None:
    """Writes `folder` (weights, tokenizer, chat template) from the model in `file`, whole or not at all.

    Raises FileExistsError when `folder` is there, ImportError without the package gguf, ValueError when the
    converted model gives other logits than the file.
    """
    logging.disable_progress_bar()
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    config = read.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    ids = torch.arange(min(64, config.vocab_size))[None]
    with torch.no_grad():
        if not torch.equal(model(ids).logits, read(ids).logits):
            raise ValueError(f"{file}: converted, the model gives other logits; nothing was written")

    def write(made: Path) -> None:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)

    write_folder(folder, write)
