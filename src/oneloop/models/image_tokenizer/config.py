"""The shape of a One-D-Piece tokenizer, as `config.json` holds it beside the weights."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

KIND = "one_d_piece"


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Sizes of the networks, and what the decoder predicts. Raises ValueError for sizes that do not fit."""

    image_size: int = 8
    """Height and width of an image."""
    channels: int = 1
    """Colour channels: 1 or 3."""
    patch: int = 2
    """Height and width of a patch; the image size is a multiple of it."""
    tokens: int = 8
    """Tokens of a whole image, N."""
    hidden_size: int = 64
    """Width of encoder and decoder, D."""
    layers: int = 2
    """Transformer blocks of the encoder, and of the decoder."""
    heads: int = 4
    """Attention heads of a block."""
    codebook_size: int = 256
    """Entries of the codebook."""
    code_dims: int = 8
    """Numbers in a codebook entry."""
    predicts: Literal["pixels", "codes"] = "pixels"
    """pixels: the decoder's patches are the image. codes: for each patch it predicts one of `proxy_codes`
    codes of a teacher, whose decoder makes the image."""
    proxy_codes: int = 1024
    """Entries of the teacher's codebook; only where codes are predicted."""
    proxy_dims: int = 256
    """Numbers in an entry of the teacher's codebook."""
    pixel_channels: int = 128
    """Channels of the pixel decoder at full size, a multiple of 32."""
    pixel_multiples: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Channels of the pixel decoder at each resolution, as multiples; all but the first double the size."""
    pixel_blocks: int = 2
    """Residual blocks of the pixel decoder at each resolution."""
    legacy_reshape: bool = False
    """Whether tokens are cut out of the encoder's outputs in the wrong order, as in the weights that were
    released. Only to load those."""

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}")
        for name, by, what in (
            ("image_size", self.patch, "patch"),
            ("hidden_size", self.heads, "heads"),
        ):
            if getattr(self, name) % by:
                raise ValueError(f"{name} must be a multiple of {what} ({by}), got {getattr(self, name)}")
        if self.predicts == "codes" and self.patch != 2 ** (len(self.pixel_multiples) - 1):
            raise ValueError(
                f"a pixel decoder of {len(self.pixel_multiples)} resolutions makes "
                f"{2 ** (len(self.pixel_multiples) - 1)} pixels of a patch, but patch is {self.patch}"
            )

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch

    @property
    def bits(self) -> int:
        """Bits of one token: the codebook's size in binary, rounded up."""
        return max(1, (self.codebook_size - 1).bit_length())

    @property
    def picture(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return self.channels, self.image_size, self.image_size

    def write(self, folder: Path) -> None:
        """Writes `config.json`."""
        text = json.dumps({"kind": KIND, **asdict(self)}, indent=1)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def read_config(folder: Path) -> TokenizerConfig:
    """The config of a saved tokenizer. Raises ValueError, naming the file, for what is none."""
    path = folder / "config.json"
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{folder} holds no tokenizer: cannot read {path} ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        found = raw.get("kind", raw.get("model_type")) if isinstance(raw, dict) else type(raw).__name__
        raise ValueError(f"{path} describes no {KIND} tokenizer (kind: {found!r})")
    known = {field.name for field in fields(TokenizerConfig)}
    if unknown := sorted(set(raw) - known - {"kind"}):
        raise ValueError(f"{path} has unknown keys {unknown}; a newer version may have written it")
    raw = {name: value for name, value in raw.items() if name in known}
    if "pixel_multiples" in raw:
        raw["pixel_multiples"] = tuple(raw["pixel_multiples"])
    try:
        return TokenizerConfig(**raw)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
