"""Messages between processes: JSON (NaN allowed) with its length in front, on a stream socket.

Tuples, bytes, dicts with other keys than text, arrays and tensors of numbers survive the way; nothing is
ever unpickled. A message above `LARGEST` bytes is refused: one process cannot fill another's memory.
"""

import base64
import contextlib
import json
import socket
import struct
import time
from typing import Any

LENGTH = struct.Struct("!Q")
LARGEST = 256 * 2**20


class BadMessage(ValueError):
    """What arrived is no message: too long, or no JSON of the kind `pack` makes."""


def send(channel: socket.socket, message: Any, deadline: float | None = None) -> None:
    """Writes one message. Raises TimeoutError after `deadline` (time.monotonic)."""
    body = json.dumps(message).encode()
    _wait(channel, deadline)
    channel.sendall(LENGTH.pack(len(body)) + body)


def receive(channel: socket.socket, deadline: float | None = None, largest: int = LARGEST) -> Any:
    """The next message, None when the other side is gone. Raises TimeoutError (deadline), BadMessage."""
    head = _read(channel, LENGTH.size, deadline)
    if not head:
        return None
    (size,) = LENGTH.unpack(head)
    if size > largest:
        raise BadMessage(f"a message of {size:,} bytes; at most {largest:,} are taken")
    try:
        return unpack(json.loads(_read(channel, size, deadline) or "null"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadMessage(f"no message: {type(error).__name__}: {error}") from error


def _wait(channel: socket.socket, deadline: float | None) -> None:
    # without a deadline nothing is set: a process that may only compute could not (ioctl)
    if deadline is not None:
        channel.settimeout(max(deadline - time.monotonic(), 1e-3))


def _read(channel: socket.socket, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        _wait(channel, deadline)
        with contextlib.suppress(ConnectionResetError):
            parts.append(channel.recv(min(size, 2**20)))
            if parts[-1]:
                size -= len(parts[-1])
                continue
        return b""
    return b"".join(parts)


def pack(value: Any) -> Any:
    """`value` as JSON can hold it; tuples, other keys than text, and arrays are marked so as to come back."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, tuple):
        return {"$tuple": [pack(item) for item in value]}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: pack(item) for key, item in value.items()}
        return {"$dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if hasattr(value, "__array__") and hasattr(value, "dtype"):
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        if array.shape == () and array.dtype.kind in "biuf":
            return array.item()
        if array.dtype.kind in "biuf":
            return {
                "$array": [array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode()]
            }
    raise TypeError(f"cannot send a {type(value).__name__} to or from another process")


def sendable(value: Any) -> bool:
    """Whether another process can be told `value`; a set, for example, cannot."""
    try:
        pack(value)
    except TypeError:
        return False
    return True


def unpack(value: Any) -> Any:
    """What was packed; arrays come back as numpy arrays."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tuple" in value:
        return tuple(unpack(item) for item in value["$tuple"])
    if "$bytes" in value:
        return base64.b64decode(value["$bytes"])
    if "$dict" in value:
        return {unpack(key): unpack(item) for key, item in value["$dict"]}
    if "$array" in value:
        import numpy as np

        kind, shape, text = value["$array"]
        return np.frombuffer(base64.b64decode(text), np.dtype(kind)).reshape(shape)
    return {key: unpack(item) for key, item in value.items()}
