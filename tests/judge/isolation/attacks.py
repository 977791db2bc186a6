"""Code as a hostile model or a careless reward function would write it; each says whether it got through.

`attempt` runs in a copy of a worker, as if the check of expressions had a hole; `attempt_as_user` in the
worker itself, as the code of a user.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from oneloop.judge.isolation.forked import OwnProcess


def _processes():
    return [path for path in Path("/proc").glob("[0-9]*") if path.name != str(os.getpid())]


def read_environment(secret):
    return any(secret in value for value in os.environ.values())


def read_environment_of_others(secret):
    for process in _processes():
        with contextlib.suppress(OSError):
            if secret.encode() in (process / "environ").read_bytes():
                return True
    return False


def read_file(path):
    return bool(Path(path).read_bytes())


def list_folder(path):
    return bool(os.listdir(path))


def write_file(path):
    Path(path).write_text("was here")
    return True


def connect(address):
    kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(kind) as made:
        made.settimeout(3)
        made.connect(address if isinstance(address, str) else tuple(address))
    return True


def open_socket(_):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    return True


def read_memory_of_parent(_):
    return bool(os.pread(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY), 1, id(None)))


def trace_parent(_):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.ptrace(16, os.getppid(), None, None) == 0  # PTRACE_ATTACH


def copy_memory_of_parent(_):
    libc, buffer = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(8)

    class Piece(ctypes.Structure):
        _fields_ = (("start", ctypes.c_void_p), ("size", ctypes.c_size_t))

    here, there = Piece(ctypes.addressof(buffer), 8), Piece(id(None), 8)
    return libc.process_vm_readv(os.getppid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 8


def kill_all(_):
    """Every process that can be seen or guessed, the run among them."""
    hit = 0
    for number in [os.getppid(), *(int(path.name) for path in _processes())]:
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGTERM)
            hit += 1
    return hit > 0


def write_to_inherited(_):
    """Forges answers on every descriptor but the one to the worker."""
    forged = b'{"value": {"$tuple": [1.0, null]}}'
    hit = 0
    for number in (*range(3), *range(4, 256)):
        with contextlib.suppress(OSError):
            hit += os.write(number, len(forged).to_bytes(8, "big") + forged) > 0 and number > 2
    return hit > 0


def fork(_):
    if not os.fork():
        os._exit(0)
    return True


def run_program(_):
    os.execv(sys.executable, [sys.executable, "-c", "1"])


def escape_namespace(_):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(0x10000000) == 0 or libc.mount(b"none", b"/", None, 1 << 18, None) == 0


def attempt(argument, alone):
    """1.0 when the attack `argument[0]` got through, 0.0 when it was held off, and how."""
    name, target = argument
    if name == "score":
        return target, None
    try:
        return float(ATTACKS[name](target)), None
    except OSError as error:
        return 0.0, type(error).__name__


def end(argument, alone):
    """Ends, fills or blocks its process as told."""
    if argument == "_exit":
        os._exit(0)
    if argument == "exit":
        sys.exit(0)
    if argument == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if argument == "crash":
        ctypes.string_at(0)
    if argument == "memory":
        blocks = []
        while True:
            blocks.append(bytes(10**7))
    if argument == "hang":
        while True:
            pass
    if argument == "hang in C":
        return 9**9**9
    if argument == "flood":
        os.write(3, (10**12).to_bytes(8, "big") + bytes(10**5))
        while True:
            os.write(3, bytes(10**5))
    if argument == "no message":
        os.write(3, (4).to_bytes(8, "big") + b"[[[[")
    if argument == "foreign message":
        text = b'{"value": {"$tuple": [1.0, null]}, "info": 1}'
        os.write(3, len(text).to_bytes(8, "big") + text)
    if argument == "print":
        print("x" * 10**7)
        return 0.5, "r" * 1000
    return argument, None


def patch(argument, alone):
    """Replaces everything within reach that decides about scores; 0.25 where nothing was replaced."""
    if argument == "patch":
        from oneloop.judge.isolation import forked, messages, worker

        for module in (forked, messages, worker, sys.modules[__name__]):
            for name in ("patch", "_answer", "_checked", "call"):
                setattr(module, name, lambda *_: {"value": (1.0, None)})
    return 0.25, None


def patch_alone(argument, alone):
    """`patch` in a process for this text alone."""
    if not alone:
        raise OwnProcess
    return patch(argument, alone)


def attempt_as_user(argument):
    """Whether the attack got through, in the worker itself."""
    name, target = argument
    if name == "variable":
        return os.environ.get(target)
    try:
        return bool(ATTACKS[name](target))
    except OSError:
        return False


ATTACKS = {
    attack.__name__: attack
    for attack in (
        *(read_environment, read_environment_of_others, read_file, list_folder, write_file, connect),
        *(open_socket, read_memory_of_parent, trace_parent, copy_memory_of_parent, kill_all),
        *(write_to_inherited, fork, run_program, escape_namespace),
    )
}
