"""The process that a sandbox starts: loads one function, then answers calls until its parent is gone.

Run as a script by `sandbox.py` (`python -P worker.py CHANNEL GUARD`), so only the standard library is
imported here: a worker starts in tens of milliseconds and never loads torch unless its function does.

    parent -> worker   {function, setup, adapter, path, memory_mb}, then lists of arguments
    worker -> parent   {info} or {error} once, then one {value} or {error} for each argument, in order

Messages are JSON (NaN allowed) with their length in front, on a private socket: what the function prints
goes where the parent's prints go and cannot be mistaken for an answer.
"""

import base64
import contextlib
import fcntl
import importlib
import importlib.util
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("!Q")


def main(channel_number: int, guard_number: int) -> None:
    """Serves the parent at the other end of the two file descriptors."""
    die_with(guard_number)
    channel = socket.socket(fileno=channel_number)
    hello = receive(channel)
    try:
        sys.path[:] = hello["path"]
        function = load(hello["function"])
        if hello["setup"] is not None:
            function = function(*hello["setup"])
        if hello["adapter"] is not None:
            function = load(hello["adapter"])(function)
        limit_memory(hello["memory_mb"])
    except BaseException as error:
        send(channel, {"error": describe(error)})
        return
    send(channel, {"info": getattr(function, "info", None)})
    while (arguments := receive(channel)) is not None:
        for argument in arguments:
            answer = call(function, argument, hello["memory_mb"])
            send(channel, answer)
            if answer.get("last"):
                return


def call(function: Callable[[Any], Any], argument: Any, megabytes: int) -> dict[str, Any]:
    """{value} or {error}; `last` when the process had better not be used again."""
    try:
        value = pack(function(argument))
        json.dumps(value)
        return {"value": value}
    except MemoryError:
        return {"error": f"out of memory (more than {megabytes} MB)", "last": True}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a function that calls exit() has failed, no more
        return {"error": describe(error)}


def describe(error: BaseException) -> str:
    """`KeyError: 'x' (rewards.py, line 12)`: the kind, the words and the last place in the user's code."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if (name := trace.tb_frame.f_code.co_filename) != __file__ and not name.startswith("<"):
            place = f" ({Path(name).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:500]}{place}"


def load(path: str) -> Callable[..., Any]:
    """The function at `package.module.function` or `file.py:function`. Raises ImportError, AttributeError."""
    if ".py:" in path:
        file, _, name = path.rpartition(":")
        spec = importlib.util.spec_from_file_location("oneloop_sandbox_" + Path(file).stem, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import {file}")
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        sys.path.append(str(Path(file).resolve().parent))  # what lies beside the file may be imported
        spec.loader.exec_module(module)
    else:
        module_name, _, name = path.rpartition(".")
        module = importlib.import_module(module_name)
    return getattr(module, name)  # type: ignore[no-any-return]


def limit_memory(megabytes: int) -> None:
    """Lets this process take `megabytes` more than it has now, counted in address space. Linux only."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def die_with(guard: int) -> None:
    """Makes the kernel end this process when the other end of the pipe `guard` closes.

    The parent holds that end, so its death, by SIGKILL too, ends even a function that hangs in C code. Linux
    only; elsewhere a worker ends once its function returns.
    """
    if sys.platform != "linux":
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(guard, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(guard, fcntl.F_SETFL, fcntl.fcntl(guard, fcntl.F_GETFL) | os.O_ASYNC)


def send(channel: socket.socket, message: Any, deadline: float | None = None) -> None:
    """Writes one message. Raises TimeoutError after `deadline` (time.monotonic)."""
    body = json.dumps(message).encode()
    channel.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
    channel.sendall(LENGTH.pack(len(body)) + body)


def receive(channel: socket.socket, deadline: float | None = None) -> Any:
    """The next message, None when the other side is gone. Raises TimeoutError after `deadline`."""
    head = _read(channel, LENGTH.size, deadline)
    body = _read(channel, LENGTH.unpack(head)[0], deadline) if head else b""
    return unpack(json.loads(body)) if body else None


def _read(channel: socket.socket, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        channel.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
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
    """Whether another process can be told `value`; a picture, for example, cannot."""
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
    if "$dict" in value:
        return {unpack(key): unpack(item) for key, item in value["$dict"]}
    if "$array" in value:
        import numpy as np

        kind, shape, text = value["$array"]
        return np.frombuffer(base64.b64decode(text), np.dtype(kind)).reshape(shape)
    return {key: unpack(item) for key, item in value.items()}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
