"""Reads pictures of words: convolutions, a bidirectional LSTM, and connectionist temporal classification.

    b pictures   T columns of features, one for two pixels of width   V characters

    p(text | picture) = sum over alignments a of prod_t p(a_t)      blank is class 0, character k class k + 1

Of n columns at least len(text) + (equal neighbours in text) are needed, else p is 0: the text is infeasible.
Widths may differ: a word alone and in a padded batch reads the same. One-DM (arXiv 2409.04004) reads latents
and leaves dropout and batch statistics on; this one reads pixels and is used in eval mode.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from oneloop.models.judges import word_trunk
from oneloop.models.judges.word_trunk import WordTrunk
from oneloop.models.seeded import seeded

KIND = "ctc_reader"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """Sizes of a reader, and what it can read."""

    alphabet: str = LETTERS
    """Characters it tells apart."""
    height: int = 32
    """Height to which pictures are scaled, in pixels."""
    channels: tuple[int, ...] = (16, 32, 48, 64)
    """Channels of the convolutions, each of which halves the height."""
    hidden_size: int = 64
    """Width of the LSTM in each direction."""

    def __post_init__(self) -> None:
        if not self.alphabet or len(set(self.alphabet)) < len(self.alphabet):
            raise ValueError(f"alphabet: each character once, and at least one, got {self.alphabet!r:.80}")


class CtcReader(nn.Module):
    """The reader of a configuration; `seed` fixes its initial weights."""

    def __init__(self, config: ReaderConfig, seed: int = 0):
        super().__init__()
        self.config = config
        with seeded(seed):
            self.trunk = WordTrunk(config.channels, config.height)
            self.memory = nn.LSTM(
                self.trunk.features, config.hidden_size, batch_first=True, bidirectional=True
            )
            self.head = nn.Linear(2 * config.hidden_size, len(config.alphabet) + 1)

    def forward(self, images: Tensor, widths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(log-probabilities [b, T, V + 1], columns of each word int64 [b]) of pictures [b, c, H, W] in
        [0, 1], paper 1, whose columns from `widths` on are padding; differentiable in the pictures.
        """
        features, columns = self.trunk(images, widths)
        packed = pack_padded_sequence(features, columns.cpu(), batch_first=True, enforce_sorted=False)
        with backward_in_eval(self):
            remembered, _ = self.memory(packed)
        hidden, _ = pad_packed_sequence(remembered, batch_first=True, total_length=features.shape[1])
        return self.head(hidden).float().log_softmax(-1), columns

    def losses(
        self, images: Tensor, texts: Sequence[str], widths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(-log p(text) [b], differentiable, 0 where infeasible; which are feasible, bool [b]).

        Raises ValueError for texts with characters that the reader does not know, or without any.
        """
        law, columns = self(images, widths)
        return ctc(law, columns, [self.classes(text) for text in texts])

    @torch.no_grad()
    def read(self, images: Tensor, widths: Tensor | None = None) -> list[str]:
        """The text of each picture on the likeliest alignment."""
        law, columns = self(images, widths)
        best = law.argmax(-1).cpu()
        return [self._joined(row[:count]) for row, count in zip(best, columns.tolist(), strict=True)]

    def _joined(self, classes: Tensor) -> str:
        kept = [each for each in torch.unique_consecutive(classes).tolist() if each]
        return "".join(self.config.alphabet[each - 1] for each in kept)

    def classes(self, text: str) -> list[int]:
        """Class of each character. Raises ValueError, naming those that are not in the alphabet."""
        if unknown := sorted(set(text) - set(self.config.alphabet)):
            raise ValueError(f"the reader does not know {', '.join(map(repr, unknown))} of {text!r:.80}")
        if not text:
            raise ValueError("the reader is asked about an empty text")
        return [self.config.alphabet.index(character) + 1 for character in text]

    def save(self, folder: Path) -> None:
        """Writes `config.json` and `model.safetensors`."""
        word_trunk.save(self, KIND, self.config, folder)

    @classmethod
    def load(cls, folder: Path) -> "CtcReader":
        """What `save` wrote, in eval mode. Raises ValueError, naming the file, for anything else."""
        given = dict(word_trunk.read_config(folder, KIND))
        try:
            reader = cls(ReaderConfig(**given | {"channels": tuple(given["channels"])}))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{folder / word_trunk.CONFIG}: {error}") from None
        word_trunk.load_weights(reader, folder)
        return reader.eval()


@contextmanager
def backward_in_eval(module: nn.Module) -> Iterator[None]:
    """cuDNN cannot differentiate an LSTM in eval mode; inside this context torch's own kernels are used."""
    if module.training or not torch.is_grad_enabled():
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


def ctc(law: Tensor, columns: Tensor, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(-log p(text) [b], 0 where it is infeasible; which are feasible, bool [b]) of log-probabilities
    [b, T, V + 1], of which `columns` [b] count, and texts as classes from 1 on.

    >>> even = torch.full((1, 2, 2), 0.5).log()
    >>> ctc(even, torch.tensor([2]), [[1]])[0].exp()  # of 4 alignments 3 say it
    tensor([1.3333])
    """
    lengths = torch.tensor([len(text) for text in texts])
    repeats = torch.tensor([sum(a == b for a, b in zip(text, text[1:], strict=False)) for text in texts])
    feasible = columns >= (lengths + repeats).to(columns.device)
    targets = torch.tensor([each for text in texts for each in text], device=law.device)
    losses = F.ctc_loss(
        law.transpose(0, 1), targets, columns, lengths.to(law.device), reduction="none", zero_infinity=True
    )
    return losses, feasible
