"""What a shipped recipe needs before it trains, besides the package and its extras."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Need:
    """Something that a recipe looks for on the disk, in the hub or in the machine.

    `of` is "fetch" for what `oneloop fetch` brings, "hub" for a model of the hub that asks for a GPU, "run"
    for the run of another recipe in runs/, "reader" for handwriting fonts and readers trained beforehand.
    `what` names it: the argument of `oneloop fetch`, the model, the other recipe, the guide in docs/.
    """

    of: Literal["fetch", "hub", "run", "reader"]
    what: str

    def __str__(self) -> str:
        words = {
            "fetch": "oneloop fetch {}",
            "hub": "a GPU and {} of the hub",
            "run": "the run of {} in runs/",
            "reader": "handwriting fonts and trained readers: {}",
        }
        return words[self.of].format(self.what)


NEEDS = {
    "grpo_gsm8k_gpu": Need("hub", "Qwen/Qwen3-0.6B"),
    "one_d_piece_grpo": Need("run", "one_d_piece"),
    "one_dm": Need("reader", "docs/handwriting.md"),
    "one_dm_grpo": Need("reader", "docs/handwriting.md"),
    "picture_questions_gpu": Need("hub", "HuggingFaceTB/SmolVLM-256M-Instruct"),
    "quickstart": Need("fetch", "smollm2"),
}
"""Every shipped recipe that cannot be trained right after the installation."""
