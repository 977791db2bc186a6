"""Members of a ZIP archive, Zstandard included, each and all together bounded when they unpack."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from oneloop.measure.ranking.pool import RankingError

LARGEST = 64 << 20
"""Bytes a member may unpack to."""
ALL = 512 << 20
"""Bytes that all members of a small archive may unpack to; of a large one, RATIO times its size."""
RATIO = 50
ZSTANDARD = 93
"""The ZIP format's number of the method."""
FAULTS = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    zlib.error,
    struct.error,
    ValueError,
    OSError,
)
"""What reading a damaged or encrypted archive raises."""


class Archive:
    """A ZIP archive that is open for reading; a context."""

    def __init__(self, path: Path):
        self.name, self._left = path.name, max(ALL, RATIO * path.stat().st_size)
        try:
            self._file = path.open("rb")
            self._zip = zipfile.ZipFile(self._file)
        except FAULTS as error:
            raise RankingError(f"{self.name} is no archive that can be read: {error}") from None
        self.members = {info.filename: info for info in self._zip.infolist()}

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, member: str) -> bytes:
        """What `member` holds. Raises RankingError for damage, unknown methods, and too much of it."""
        if member not in self.members:
            raise RankingError(f"{self.name} has no member '{member}'")
        info = self.members[member]
        most = min(LARGEST, self._left)
        try:
            if info.compress_type == ZSTANDARD:
                content = self._zstandard(info, most)
            else:
                with self._zip.open(info) as file:
                    content = file.read(most + 1)
        except FAULTS as error:
            raise RankingError(f"{self.name}: '{member}' is damaged or cannot be read: {error}") from None
        self._left -= len(content)
        if len(content) > most:
            raise RankingError(
                f"{self.name}: '{member}' unpacks to more than {most >> 20} MiB; export it as .json"
            )
        return content

    def _zstandard(self, info: zipfile.ZipInfo, most: int) -> bytes:
        """Up to `most` + 1 bytes. Python 3.11's zipfile does not know the method; Arrow does."""
        self._file.seek(info.header_offset)
        header = self._file.read(30)
        if header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("no member begins where the directory says")
        name, extra = struct.unpack("<HH", header[26:30])
        self._file.seek(name + extra, 1)
        packed = self._file.read(info.compress_size)
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            content: bytes = stream.read(most + 1)
        if len(content) <= most and zlib.crc32(content) != info.CRC:
            raise zipfile.BadZipFile("the checksum differs")
        return content
