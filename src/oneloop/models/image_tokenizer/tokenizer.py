"""An image as an ordered list of codes, any beginning of which is an image too (One-D-Piece, arXiv
2501.10064).

    encode: images [b, C, H, W] in [0, 1] -> int64 [b, N]
    decode: int64 [b, K] and lengths -> images [b, C, H, W]

    b images   N tokens of a whole image   K tokens that are there   d numbers of a code

Trained with Tail Token Drop: the decoder is given the first K of N codes, K drawn for each image or each
batch, after the quantiser, whose loss counts all N.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from oneloop.models.image_tokenizer.config import TokenizerConfig, read_config
from oneloop.models.image_tokenizer.decoder import Decoder
from oneloop.models.image_tokenizer.encoder import Encoder
from oneloop.models.image_tokenizer.pixel_decoder import PixelDecoder, expected_vectors
from oneloop.models.image_tokenizer.quantizer import VectorQuantizer
from oneloop.models.image_tokenizer.transformer import embedding, started

WEIGHTS = "model.safetensors"
Lengths = int | Tensor | None


class Tokenized(NamedTuple):
    """One pass through the tokenizer."""

    image: Tensor
    """[b, C, H, W], not cut to [0, 1]; of a tokenizer that predicts codes, after its pixel decoder."""
    indices: Tensor
    """int64 [b, N], all tokens."""
    loss: Tensor
    """[b], the quantiser's loss over all N tokens."""


class OneDTokenizer(nn.Module):
    """Encoder, quantiser, decoder; with a pixel decoder where a teacher's codes are predicted."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.latent_tokens = embedding(config.tokens, config.hidden_size)
        self.apply(started)
        self.quantize = VectorQuantizer(config.codebook_size, config.code_dims)
        if config.predicts == "codes":
            self.pixel_quantize = nn.ModuleDict(
                {"embedding": nn.Embedding(config.proxy_codes, config.proxy_dims)}
            )
            self.pixel_decoder = PixelDecoder(config)
        head = self.decoder.ffn[2]
        assert isinstance(head, nn.Conv2d)
        # the decoder starts near its background, so that its first images are grey, not noise
        with torch.no_grad():
            head.weight.mul_(0.1)

    @property
    def proxy_codebook(self) -> Tensor:
        """[proxy_codes, proxy_dims], the teacher's codes; of a tokenizer that predicts codes."""
        weight = self.pixel_quantize["embedding"].weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.latent_tokens.device

    def vectors(self, images: Tensor) -> Tensor:
        """[b, N, d] before rounding. Raises ValueError for images of another size."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.config.picture:
            raise ValueError(f"images must be [b, {self.config.picture}], got {tuple(images.shape)}")
        out: Tensor = self.encoder(images, self.latent_tokens)
        return out

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """int64 [b, N], the tokens of images [b, C, H, W] in [0, 1]."""
        indices: Tensor = self.quantize(self.vectors(images)).indices
        return indices

    def decode(self, indices: Tensor, lengths: Lengths = None) -> Tensor:
        """Images [b, C, H, W] in [0, 1] of tokens [K], [b, K] or [b, 1, K].

        `lengths`: how many of each image's tokens are used, one number or int64 [b]; None: all. Raises
        ValueError for a length outside 1..K, and for tokens that are none.
        """
        indices = checked(indices, self.config)
        image = self.render(self.quantize.lookup(indices), lengths)
        return image.clamp(0, 1)

    def predict(self, codes: Tensor, lengths: Lengths = None) -> Tensor:
        """What the decoder says of codes [b, K, d]: images, or logits [b, proxy_codes, grid, grid]."""
        each = checked_lengths(lengths, *codes.shape[:2]).to(codes.device)
        longest = int(each.max())
        codes, there = codes[:, :longest], None
        if bool((each < longest).any()):
            there = torch.arange(longest, device=codes.device) < each[:, None]
        out: Tensor = self.decoder(codes, there)
        return out

    def render(self, codes: Tensor, lengths: Lengths = None) -> Tensor:
        """Images [b, C, H, W] of codes [b, K, d], not cut to [0, 1], differentiable."""
        out = self.predict(codes, lengths)
        if self.config.predicts == "pixels":
            return out
        image: Tensor = self.pixel_decoder(expected_vectors(out, self.proxy_codebook))
        return image

    def forward(self, images: Tensor, lengths: Lengths = None) -> Tokenized:
        """Encodes and decodes; `lengths` as in `decode`. Nothing is dropped unless lengths say so."""
        codes, indices, loss = self.quantize(self.vectors(images))
        return Tokenized(self.render(codes, lengths), indices, loss)

    def save_pretrained(self, folder: Path | str) -> None:
        """Writes `config.json` and `model.safetensors` into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write(folder)
        state = {name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}
        save_file(state, folder / WEIGHTS)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "OneDTokenizer":
        """What `save_pretrained` wrote, in eval mode on the CPU. Raises ValueError naming what is missing."""
        folder = Path(folder)
        tokenizer = cls(read_config(folder))
        try:
            state = load_file(folder / WEIGHTS)
        except Exception as error:  # safetensors has an error of its own for files that are none
            raise ValueError(f"cannot read {folder / WEIGHTS}: {error}") from None
        fit(tokenizer, state, str(folder / WEIGHTS))
        return tokenizer.eval()

    def digest(self) -> bytes:
        """16 bytes of a hash of the decoder's side, which is what tokens need to become an image."""
        found = hashlib.sha256()
        for name, weight in sorted(self.state_dict().items()):
            if name.split(".")[0] in ("decoder", "quantize", "pixel_quantize", "pixel_decoder"):
                found.update(name.encode() + weight.detach().cpu().float().contiguous().numpy().tobytes())
        return found.digest()[:16]


def fit(tokenizer: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Loads `state`. Raises ValueError, naming `where` and the first names, for weights that do not fit."""
    own = tokenizer.state_dict()
    wrong = [name for name in own if name in state and own[name].shape != state[name].shape]
    if wrong:
        name = wrong[0]
        found, asked = tuple(state[name].shape), tuple(own[name].shape)
        raise ValueError(f"{where}: {name} has shape {found}, config.json asks for {asked}")
    if missing := sorted(set(own) - set(state)):
        raise ValueError(f"{where} lacks {', '.join(missing[:3])} ({len(missing)} weights)")
    if extra := sorted(set(state) - set(own)):
        raise ValueError(f"{where} has unknown weights {', '.join(extra[:3])} ({len(extra)})")
    tokenizer.load_state_dict(state)


def checked(indices: Tensor, config: TokenizerConfig) -> Tensor:
    """int64 [b, K] of tokens [K], [b, K] or [b, 1, K]. Raises ValueError for what is no list of tokens."""
    indices = torch.as_tensor(indices)
    if indices.dtype.is_floating_point or indices.dtype == torch.bool or indices.is_complex():
        raise ValueError(f"tokens must be whole numbers, got {indices.dtype}")
    if indices.ndim == 3 and indices.shape[1] == 1:
        indices = indices[:, 0]
    elif indices.ndim == 1:
        indices = indices[None]
    if indices.ndim != 2 or not 1 <= indices.shape[1] <= config.tokens:
        raise ValueError(
            f"tokens must be [K], [b, K] or [b, 1, K] with K in 1..{config.tokens}, got "
            f"{tuple(indices.shape)}"
        )
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < config.codebook_size:
        low, high = int(indices.min()), int(indices.max())
        raise ValueError(f"tokens must lie in 0..{config.codebook_size - 1}, got {low} to {high}")
    return indices.long()


def checked_lengths(lengths: Lengths, count: int, most: int) -> Tensor:
    """int64 [count]. Raises ValueError for a length outside 1..most, or of another kind."""
    each = torch.as_tensor(most if lengths is None else lengths)
    if each.dtype.is_floating_point or each.dtype == torch.bool or each.ndim > 1:
        raise ValueError(f"lengths must be a whole number, or one for each image, got {lengths!r}")
    if each.ndim == 1 and len(each) != count:
        raise ValueError(f"{len(each)} lengths for {count} images")
    if count and not 1 <= int(each.min()) <= int(each.max()) <= most:
        wrong = each.flatten()[(each.flatten() < 1) | (each.flatten() > most)]
        raise ValueError(f"lengths must lie in 1..{most}, got {int(wrong[0])}")
    return each.long().expand(count) if each.ndim == 0 else each.long()
