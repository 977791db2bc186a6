"""One-D-Piece (arXiv 2501.10064): an image tokenizer whose every prefix decodes, made here or loaded."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from oneloop.core.part import part
from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.released import open_tokenizer
from oneloop.models.image_tokenizer.teacher import open_teacher
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer
from oneloop.models.seeded import Seed, seeded


@part(paper="arXiv 2501.10064")
class OneDPiece:
    """A tokenizer of `tokens` codes an image; `seed` fixes its initial weights, `folder` loads others."""

    folder: str = ""
    """Folder of a saved tokenizer, or of released weights; the other options are then its own. Empty: a
    new one."""
    image_size: Annotated[int, Field(ge=2)] = 8
    """Height and width of an image, a multiple of `patch`."""
    channels: Literal[1, 3] = 1
    """Colour channels of an image."""
    patch: Annotated[int, Field(ge=1)] = 2
    """Height and width of a patch."""
    tokens: Annotated[int, Field(ge=1, le=65535)] = 8
    """Tokens of a whole image."""
    hidden_size: Annotated[int, Field(ge=2)] = 64
    """Width of encoder and decoder, a multiple of `heads`."""
    layers: Annotated[int, Field(ge=1, le=1000)] = 2
    """Transformer blocks of the encoder, and of the decoder."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of each block."""
    codebook_size: Annotated[int, Field(ge=2, le=65536)] = 256
    """Codes a token can be."""
    code_dims: Annotated[int, Field(ge=2)] = 8
    """Numbers in a code."""
    teacher: str = ""
    """Folder of a frozen teacher: the decoder then predicts its codes, and its decoder makes the pixels;
    `channels` and `patch` are its own. Empty: the decoder predicts pixels."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not self.folder and not self.teacher:
            self.config()

    def config(self, **sizes: Any) -> TokenizerConfig:
        """The sizes of a new tokenizer, `sizes` over those of the options. Raises ValueError for sizes that
        do not fit."""
        own = {
            "image_size": self.image_size,
            "channels": self.channels,
            "patch": self.patch,
            "tokens": self.tokens,
            "hidden_size": self.hidden_size,
            "layers": self.layers,
            "heads": self.heads,
            "codebook_size": self.codebook_size,
            "code_dims": self.code_dims,
        }
        return TokenizerConfig(**{**own, **sizes})

    def build(self) -> OneDTokenizer:
        """The tokenizer in fp32 on the CPU. Does not change torch's global random state."""
        if self.folder:
            return open_tokenizer(Path(self.folder))
        teacher, sizes = open_teacher(self.teacher) if self.teacher else (None, {})
        with seeded(self.seed):
            tokenizer = OneDTokenizer(self.config(**sizes)).eval()
        if teacher is not None:
            tokenizer.pixel_decoder.load_state_dict(teacher.decoder.state_dict())
            tokenizer.pixel_quantize.load_state_dict(teacher.quantize.state_dict())
        return tokenizer
