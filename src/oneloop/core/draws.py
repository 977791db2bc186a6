"""Randomness without state: every draw is a pure function of integers that say what it is for.

A draw is named, not taken in turn, so batch composition, interruption, threads and resume cannot change it:
    key = mix(seed, step, prompt, sample);  u = uniforms(key, token)
The hash is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014),
chained over the parts. Not here: cryptographic strength, or a stream object."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Part = int | str | np.integer | NDArray[np.integer]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: the increment of splitmix64
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)


def mix(*parts: Part) -> NDArray[np.uint64]:
    """Hash the parts, in order, into 64 well-spread bits: uint64 of their broadcast shape (0-d for scalars).

    Integers count modulo 2^64, so a negative one and its two's complement are the same part; a str is hashed
    by its UTF-8 bytes. Raises TypeError for anything else (a float is never rounded silently).
    """
    if not parts:
        raise ValueError("mix: needs at least one part, got none")
    state = np.asarray(GOLDEN)
    for part in parts:
        state = _scramble(state ^ _as_bits(part))
    return state


def uniforms(keys: Part, counters: Part) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits, one for each (key, counter): float64, broadcast."""
    return (mix(keys, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _scramble(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64: a bijection of the 64-bit words."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point
        state = state + GOLDEN
        state = (state ^ (state >> np.uint64(30))) * FIRST
        state = (state ^ (state >> np.uint64(27))) * SECOND
    return np.asarray(state ^ (state >> np.uint64(31)))


def _as_bits(part: Part) -> NDArray[np.uint64]:
    if isinstance(part, str):
        digest = hashlib.blake2b(part.encode(), digest_size=8).digest()
        return np.asarray(np.uint64(int.from_bytes(digest, "little")))
    if isinstance(part, int):  # Python integers of any size, bool included
        return np.asarray(np.uint64(part % 2**64))
    array = np.asarray(part)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"mix: parts are integers, integer arrays or str, got {part!r}")
    return array.astype(np.uint64)
