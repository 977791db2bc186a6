"""Lets a judge of pictures judge a language policy that writes pictures as codes of an image tokenizer."""

from functools import cached_property
from typing import Annotated, Any

import torch

from oneloop.core.declared import declared
from oneloop.core.part import Of, part
from oneloop.core.rollouts import Rollouts
from oneloop.judge.stage import judge_name
from oneloop.models.image_tokenizer.as_text import from_text
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer


def _reads(judge: Any) -> tuple[str, ...]:
    inner = [column for column in declared(judge.judge, "reads") if column != "output"]
    return tuple(dict.fromkeys(("text", *inner)))


def _writes(judge: Any) -> tuple[str, ...]:
    own = () if isinstance(judge, type) else declared(judge.judge, "writes")
    return ("reward.", "output") if isinstance(judge, type) else (*own, "output")


@part(reads=_reads, writes=_writes, paper="arXiv 2501.10064")
class Decoded:
    """Decodes the codes with which each text begins, and asks `judge` about the picture; no code scores 0."""

    tokenizer: Annotated[Any, Of("image_tokenizer")]
    """The tokenizer, such as {one_d_piece: {folder: runs/one_d_piece}}."""
    judge: Annotated[Any, Of("judge")]
    """The judge of pictures."""

    @property
    def name(self) -> str:
        """The name of the judge that is asked."""
        return judge_name(self.judge)

    @property
    def weight(self) -> float:
        """The weight of the judge that is asked."""
        return float(getattr(self.judge, "weight", 1.0))

    @cached_property
    def loaded(self) -> OneDTokenizer:
        """The tokenizer. Raises ValueError where it cannot be loaded."""
        tokenizer: OneDTokenizer = self.tokenizer.build()
        return tokenizer

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with `output`, the pictures, and what the judge writes."""
        output, drawn = self.pictures(rollouts.text)
        judged: Rollouts = self.judge(rollouts.put(output=output))
        reward = judged[f"reward.{self.name}"]
        written = {f"reward.{self.name}": torch.where(drawn, reward, 0.0)}
        if "correct" in judged:
            written["correct"] = torch.where(drawn, judged.correct, 0.0)
        return judged.put(written)

    @torch.no_grad()
    def pictures(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(pictures [n, C, H, W] in [0, 1], black where nothing is drawn; bool [n], whether something is)."""
        config = self.loaded.config
        codes = [from_text(text, config.codebook_size, config.tokens) for text in texts]
        lengths = torch.tensor([len(each) for each in codes], dtype=torch.long)
        output, drawn = torch.zeros(len(texts), *config.picture), lengths > 0
        if bool(drawn.any()):
            some = [each for each in codes if len(each)]
            padded = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
            output[drawn] = self.loaded.decode(padded, lengths[drawn])
        return output, drawn
