"""Says by which of many writers a picture of a word is: a measure of style that no handwriting model is
trained on.

    b pictures   T columns   d features   V writers

    features = mean over columns of gelu(A column + a)        p(writer | picture) = softmax(B features + b)

The mean over columns keeps what all of a word has, slant, weight and curves, rather than what it says. Two
sets of pictures are compared by their features: `oneloop.measure.frechet`, and the distance of two means,
which is how HWD of the literature is made (there with a larger network).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneloop.models.judges import word_trunk
from oneloop.models.judges.word_trunk import WordTrunk
from oneloop.models.seeded import seeded

KIND = "hand_classifier"


@dataclass(frozen=True, kw_only=True)
class HandConfig:
    """Sizes of a classifier of hands, and the writers it tells apart."""

    writers: tuple[str, ...]
    """Their names."""
    height: int = 32
    """Height to which pictures are scaled, in pixels."""
    channels: tuple[int, ...] = (16, 32, 48, 64)
    """Channels of the convolutions, each of which halves the height."""
    features: int = 64
    """Numbers by which pictures are compared."""

    def __post_init__(self) -> None:
        if len(self.writers) < 2 or len(set(self.writers)) < len(self.writers):
            raise ValueError(f"writers: at least two, each once, got {list(self.writers)!r:.80}")


class HandClassifier(nn.Module):
    """The classifier of a configuration; `seed` fixes its initial weights."""

    def __init__(self, config: HandConfig, seed: int = 0):
        super().__init__()
        self.config = config
        with seeded(seed):
            self.trunk = WordTrunk(config.channels, config.height)
            self.columns = nn.Linear(self.trunk.features, config.features)
            self.head = nn.Linear(config.features, len(config.writers))

    def features(self, images: Tensor, widths: Tensor | None = None) -> Tensor:
        """[b, d] of pictures [b, c, H, W] in [0, 1], paper 1, whose columns from `widths` on are padding."""
        found, columns = self.trunk(images, widths)
        there = torch.arange(found.shape[1], device=found.device) < columns[:, None]
        drawn = F.gelu(self.columns(found)) * there[..., None]
        mean: Tensor = drawn.sum(1) / columns[:, None].to(drawn)
        return mean

    def forward(self, images: Tensor, widths: Tensor | None = None) -> Tensor:
        """Log-probabilities [b, V]."""
        scores: Tensor = self.head(self.features(images, widths))
        return scores.float().log_softmax(-1)

    def classes(self, names: Sequence[str]) -> Tensor:
        """int64 [b], the number of each name. Raises ValueError, with the names that are not known."""
        number = {name: place for place, name in enumerate(self.config.writers)}
        if unknown := sorted(set(names) - set(number)):
            raise ValueError(f"the classifier of hands does not know {', '.join(map(repr, unknown))}")
        return torch.tensor([number[name] for name in names])

    def save(self, folder: Path) -> None:
        """Writes `config.json` and `model.safetensors`."""
        word_trunk.save(self, KIND, self.config, folder)

    @classmethod
    def load(cls, folder: Path) -> "HandClassifier":
        """What `save` wrote, in eval mode. Raises ValueError, naming the file, for anything else."""
        given = dict(word_trunk.read_config(folder, KIND))
        try:
            lists = {name: tuple(given[name]) for name in ("writers", "channels")}
            classifier = cls(HandConfig(**given | lists))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{folder / word_trunk.CONFIG}: {error}") from None
        word_trunk.load_weights(classifier, folder)
        return classifier.eval()
