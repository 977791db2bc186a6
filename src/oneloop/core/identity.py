"""What a data row is, whatever its number: a hash of its contents, and one of a whole data set.

    identity(row)       128 bits; equal rows have equal ones, also in another process
    fingerprint(data)   how many rows there are, and a hash of their identities in order

Rows are known by number while a run lasts. Between two runs the file may be edited, so whatever is kept on
disk is compared by these. Not cryptographic: it notices accidents.
"""

import datetime
import decimal
import fractions
import hashlib
import pathlib
import struct
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from oneloop.core.protocols import Data

SPREAD = 128
"""So many rows, evenly spread, are looked at where rows are generated; those of a file are all looked at."""
PRINTED = (
    *(datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction),
    *(uuid.UUID, pathlib.PurePath, complex, range),
)
"""Types whose `repr` says all there is."""


class Fingerprint(NamedTuple):
    """What a data set held; two are equal when number and order of rows and their contents are."""

    rows: int
    """How many."""
    identity: str
    """Hexadecimal hash of the identities of its rows, in order."""


@runtime_checkable
class Fingerprinted(Protocol):
    """Data that knows a better or cheaper fingerprint than a look at some rows."""

    def fingerprint(self) -> Fingerprint:
        """A number that two data sets share when all their rows are equal."""


def identity(value: Any) -> str:
    """Hexadecimal hash of `value`, a row or whatever a row may hold: numbers, text, lists, mappings, arrays,
    tensors, pictures.

    1, 1.0, True and "1" are different; the order of a mapping's keys makes no difference. An object of
    another class counts by its class alone.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value)
    return digest.hexdigest()


def fingerprint(data: Data) -> Fingerprint:
    """The data's own where it has one, else that of `SPREAD` rows evenly spread over it."""
    return data.fingerprint() if isinstance(data, Fingerprinted) else of_rows(data, SPREAD)


def of_rows(data: Data, most: int, inner: Iterable[Data] = ()) -> Fingerprint:
    """The fingerprint of `data` by at most so many rows, evenly spread, and by all the data it is made of."""
    keys = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(np.int64))
    seen = [_seen(data, key) for key in keys.tolist()]
    return Fingerprint(len(data), identity([seen, *(list(fingerprint(each)) for each in inner)]))


def _seen(data: Data, key: int) -> str:
    """The identity of a row; of one that cannot be read, of the words that say so."""
    try:
        return identity(data[key])
    except ValueError as error:
        return identity(["unreadable", str(error)])


def _feed(digest: "hashlib.blake2b", value: Any) -> None:
    """Adds `value` with its kind and length, so that no two different values are written alike."""
    if isinstance(value, Mapping):
        pairs = sorted((identity(key), identity(item)) for key, item in value.items())
        _write(digest, "map", "".join(key + item for key, item in pairs).encode())
    elif isinstance(value, list | tuple):
        _write(digest, "list", struct.pack("<q", len(value)))
        for item in value:
            _feed(digest, item)
    elif isinstance(value, set | frozenset):
        _write(digest, "set", "".join(sorted(identity(item) for item in value)).encode())
    else:
        _write(digest, *_plain(value))


def _plain(value: Any) -> tuple[str, bytes]:
    """(kind, bytes) of what holds nothing else."""
    if isinstance(value, str):
        return "str", value.encode(errors="surrogatepass")
    if isinstance(value, bytes | bytearray):
        return "bytes", bytes(value)
    if value is None:
        return "none", b""
    if isinstance(value, int):
        return type(value).__name__, hex(value).encode()  # decimal digits of huge ones are refused by Python
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    if isinstance(value, PRINTED):
        return type(value).__name__, repr(value).encode()
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # a picture as Pillow has it
        return f"picture {value.mode} {value.size}", value.tobytes()
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        return f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).tobytes()
    return f"object {type(value).__module__}.{type(value).__qualname__}", b""


def _write(digest: "hashlib.blake2b", kind: str, content: bytes) -> None:
    digest.update(f"{kind}:{len(content)}:".encode() + content)
