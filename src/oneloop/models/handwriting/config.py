"""Sizes of a handwriting model, and what it may write."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

CONFIG = "config.json"
Edges = Literal["clip", "abs", "signed", "none"]


@dataclass(frozen=True, kw_only=True)
class HandwritingConfig:
    """What a handwriting model is made of; see the options of `models.flow.one_dm.OneDm`."""

    height: int = 16
    letter_width: int = 16
    letters: int = 3
    alphabet: str = ""
    font: str = ""
    glyph_size: int = 16
    hidden_size: int = 32
    heads: int = 4
    layers: int = 1
    blocks: int = 1
    stride: int = 4
    edges: Edges = "clip"
    gated: bool = True
    patch: int = 2
    channels: tuple[int, ...] = (32, 48)
    attention: Literal["first", "last"] = "last"
    predicts: Literal["noise", "data"] = "noise"
    autoencoder: str = ""

    def __post_init__(self) -> None:
        folds = self.folds
        for name in ("height", "letter_width"):
            if getattr(self, name) % folds:
                value = getattr(self, name)
                raise ValueError(
                    f"{name} must be a multiple of {folds}, got {value}; "
                    f"nearest: {value // folds * folds or folds}"
                )
        if self.hidden_size % (2 * self.heads) or self.hidden_size % 8:
            raise ValueError(
                f"hidden_size must be a multiple of 8 and of twice heads = {self.heads}, "
                f"got {self.hidden_size}"
            )
        # the first stage has an eighth of it, and the norm of a single channel is 0
        if self.hidden_size < 16:
            raise ValueError(f"hidden_size must be at least 16, got {self.hidden_size}")
        if odd := [wide for wide in self.channels if wide % self.heads or wide % 8]:
            raise ValueError(f"channels must be multiples of 8 and of heads = {self.heads}, got {odd}")
        if self.height < self.stride:
            raise ValueError(f"height must be at least the stride {self.stride}, got {self.height}")

    @property
    def folds(self) -> int:
        """What height and width are divided by on the way to the U-Net's last level."""
        return int(2 ** (len(self.channels) - 1) * self.shrink)

    @property
    def shrink(self) -> int:
        """Pixels to a side of what one place of a latent stands for."""
        return 8 if self.autoencoder else self.patch

    @property
    def latent_channels(self) -> int:
        """Numbers at one place of a latent."""
        return 4 if self.autoencoder else self.patch**2

    @property
    def width(self) -> int:
        """Width in pixels of the canvas for `letters` characters."""
        return self.letter_width * self.letters

    def write(self, folder: Path) -> None:
        """Writes `config.json` into `folder`."""
        text = json.dumps({"model_type": "one_dm", **asdict(self)}, indent=2, ensure_ascii=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_config(folder: Path) -> HandwritingConfig:
    """What `HandwritingConfig.write` left in `folder`.

    Raises ValueError, naming the file, for one that is missing, no JSON, of another model, or with options
    that do not exist.
    """
    path = folder / CONFIG
    try:
        given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no handwriting model: there is no {CONFIG} in it") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(given, dict) or given.pop("model_type", None) != "one_dm":
        raise ValueError(f"{path} is not of a handwriting model (model_type: one_dm)")
    known = {field.name for field in fields(HandwritingConfig)}
    if foreign := sorted(set(given) - known):
        raise ValueError(f"{path} has options that a handwriting model does not: {', '.join(foreign)}")
    if isinstance(given.get("channels"), list):
        given["channels"] = tuple(given["channels"])
    try:
        return HandwritingConfig(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
