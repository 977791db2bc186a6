"""Tokens as bits: each in `bits` bits, most significant first, the last byte filled with zeros.

bytes(K) = ceil(K bits / 8)
"""

import numpy as np
import torch
from torch import Tensor

MOST_BITS = 16


def pack_tokens(indices: Tensor, bits: int) -> bytes:
    """Packs tokens [K]. Raises ValueError for a token that does not fit into `bits`.

    >>> pack_tokens(torch.tensor([887, 3979, 349]), 12).hex()
    '377f8b15d0'
    """
    _check(bits)
    values = indices.detach().cpu().numpy().astype(np.int64).reshape(-1)
    if len(values) and not 0 <= values.min() <= values.max() < 1 << bits:
        raise ValueError(
            f"a token of {bits} bits lies in 0..{(1 << bits) - 1}, got {values.min()} to {values.max()}"
        )
    places = np.arange(bits - 1, -1, -1)
    return np.packbits((values[:, None] >> places & 1).astype(np.uint8)).tobytes()


def unpack_tokens(data: bytes, bits: int, count: int) -> Tensor:
    """int64 [count], what `pack_tokens` packed. Raises ValueError where `data` is too short."""
    _check(bits)
    if (there := len(data) * 8 // bits) < count:
        raise ValueError(f"{len(data)} bytes hold {there} tokens of {bits} bits, not {count}")
    flags = np.unpackbits(np.frombuffer(data, np.uint8))[: count * bits].reshape(count, bits)
    return torch.from_numpy(flags.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1)))


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` tokens take.

    >>> [packed_size(count, 12) for count in (1, 2, 8, 32, 256)]
    [2, 3, 12, 48, 384]
    """
    return -(-count * bits // 8)


def _check(bits: int) -> None:
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"a token takes 1 to {MOST_BITS} bits, got {bits}")
