"""Files of tokens: a header, then the tokens of one or many images, first tokens first.

    magic 1DPC   version   bits   height   width   tokens a whole image has   images   length   digest   CRC
    4 bytes      1         1      2        2       2                          4        2        8        4

`length` 0: the images have unlike lengths, which follow as two bytes each. Then come the first tokens of all
images, the second tokens, and so on, each of `bits` bits: a file that ends early still has a prefix of every
image. The digest names the decoder that the tokens are for; the CRC is of all but itself. Little-endian.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from oneloop.core.storage import replace_file
from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.packing import pack_tokens, packed_size, unpack_tokens

MAGIC, VERSION = b"1DPC", 1
FIELDS = struct.Struct("<4sBBHHHIH8s")
CRC = struct.Struct("<I")
HEADER = FIELDS.size + CRC.size
"""Bytes of the header."""


class TokenFileError(ValueError):
    """A file of tokens that cannot be read, or is for another tokenizer; the message says why."""


@dataclass(frozen=True)
class TokenFile:
    """The tokens of some images."""

    tokens: tuple[Tensor, ...]
    """int64 [K] for each image, K from 1; 0 only where a truncated file has none of it."""
    height: int
    width: int
    bits: int
    whole: int
    """Tokens that a whole image has."""
    digest: bytes
    """Digest of the tokenizer that the tokens are for, 8 bytes."""
    lost: int = 0
    """Tokens that the file should have but does not."""


def token_file(tokens: Sequence[Tensor], config: TokenizerConfig, digest: bytes) -> TokenFile:
    """The file for `tokens` of a tokenizer. Raises ValueError for images of no tokens, or of too many."""
    if not tokens:
        raise ValueError("a file of tokens holds at least one image")
    for number, each in enumerate(tokens):
        if not 1 <= len(each) <= config.tokens:
            raise ValueError(f"image {number} has {len(each)} tokens; 1 to {config.tokens} can be written")
    size = config.image_size
    return TokenFile(tuple(tokens), size, size, config.bits, config.tokens, digest[:8])


def to_bytes(file: TokenFile) -> bytes:
    """The whole file."""
    lengths = [len(each) for each in file.tokens]
    same = lengths[0] if len(set(lengths)) == 1 else 0
    head = FIELDS.pack(
        *(MAGIC, VERSION, file.bits, file.height, file.width, file.whole, len(lengths), same, file.digest)
    )
    table = b"" if same else struct.pack(f"<{len(lengths)}H", *lengths)
    body = table + pack_tokens(_by_place(file.tokens), file.bits)
    return head + CRC.pack(zlib.crc32(head + body)) + body


def _by_place(tokens: Sequence[Tensor]) -> Tensor:
    """The first tokens of all, the second tokens of those that have one, and so on."""
    longest = max(len(each) for each in tokens)
    return torch.cat(
        [torch.stack([each[place] for each in tokens if len(each) > place]) for place in range(longest)]
    )


def from_bytes(data: bytes, where: str, strict: bool = True) -> TokenFile:
    """What `to_bytes` gave. `strict` False: of a file that ends early, the tokens that are complete.

    Raises TokenFileError, naming `where`, for what is no such file, is damaged, or (strict) ends early.
    """
    if len(data) < HEADER or data[:4] != MAGIC:
        raise TokenFileError(f"{where} is no file of tokens: it does not begin with {MAGIC.decode()}")
    _, version, bits, height, width, whole, images, same, digest = FIELDS.unpack_from(data)
    if version != VERSION:
        raise TokenFileError(f"{where} has version {version}; this program reads version {VERSION}")
    body = data[HEADER:]
    table = 0 if same else 2 * images
    if len(body) < table:
        raise TokenFileError(f"{where} ends in its table of lengths; nothing of it can be decoded")
    lengths = [same] * images if same else list(struct.unpack_from(f"<{images}H", body))
    if not (images and 1 <= bits <= 16 and all(1 <= length <= whole for length in lengths)):
        raise TokenFileError(f"{where} is damaged: its header makes no sense")
    wanted = sum(lengths)
    missing = packed_size(wanted, bits) - (len(body) - table)
    if missing < 0:
        raise TokenFileError(f"{where} is damaged: it is {-missing} bytes longer than its header says")
    there = min(wanted, (len(body) - table) * 8 // bits)
    if missing and strict:
        raise TokenFileError(
            f"{where} ends early: {there} of its {wanted} tokens are there (decode what is there with "
            "--partial, strict=False)"
        )
    if not missing and zlib.crc32(data[: FIELDS.size] + body) != CRC.unpack_from(data, FIELDS.size)[0]:
        raise TokenFileError(f"{where} is damaged: its CRC does not match")
    found = unpack_tokens(body[table:], bits, there)
    return TokenFile(_by_image(found, lengths), height, width, bits, whole, digest, wanted - there)


def _by_image(found: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    """The tokens of each image, of `found` in the order of `_by_place`."""
    owner = [image for place in range(max(lengths)) for image, length in enumerate(lengths) if length > place]
    owners = torch.tensor(owner[: len(found)], dtype=torch.long)
    return tuple(found[owners == image] for image in range(len(lengths)))


def write_tokens(path: Path, file: TokenFile) -> int:
    """Writes the file whole or not at all; returns its size in bytes."""
    data = to_bytes(file)
    replace_file(path, data)
    return len(data)


def read_tokens(path: Path, digest: bytes | None = None, strict: bool = True) -> TokenFile:
    """Reads what `write_tokens` wrote; `strict` as in `from_bytes`.

    Raises TokenFileError where the file cannot be read, is damaged, or is not for the tokenizer of `digest`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TokenFileError(f"cannot read {path}: {error.strerror}") from None
    file = from_bytes(data, str(path), strict)
    if digest is not None and file.digest != digest[:8]:
        raise TokenFileError(
            f"{path} was made by another tokenizer (digest {file.digest.hex()}, this one is "
            f"{digest[:8].hex()}): its tokens mean other images here"
        )
    return file
