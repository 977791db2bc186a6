"""System calls that Python's standard library lacks, by name: Linux on x86-64 and 64-bit ARM."""

import ctypes
import os
import platform
import sys

LINUX = sys.platform == "linux"
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine())

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38

NUMBERS = {  # name: (x86_64, aarch64); -1: not there. From asm/unistd_64.h and asm-generic/unistd.h
    "pivot_root": (155, 41),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "capset": (126, 91),
}


def number(name: str, numbers: dict[str, tuple[int, int]] = NUMBERS) -> int:
    """The number of the system call `name` on this machine, -1 where it has none or none is known here."""
    x86, other = numbers[name]
    if ARCHITECTURE is None:  # calls since Linux 5.1 have one number everywhere
        return x86 if x86 == other else -1
    return x86 if ARCHITECTURE == "x86_64" else other


def call(name: str, *arguments: object) -> int:
    """The system call `name`. Raises OSError, also on systems that are not known here."""
    if not LINUX or number(name) < 0:
        raise OSError(f"{name}: not on {sys.platform} {platform.machine()}")
    return checked(name, _libc().syscall(number(name), *arguments))


def checked(name: str, result: int) -> int:
    """`result` of a C function that says -1 and errno. Raises OSError."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def libc(name: str, *arguments: object) -> int:
    """The C library's function `name`, for those that return -1 and errno. Raises OSError."""
    if not LINUX:
        raise OSError(f"{name}: not on {sys.platform}")
    return checked(name, getattr(_libc(), name)(*arguments))


def prctl(option: int, value: object = 0, *more: object) -> int:
    """prctl(2). Raises OSError."""
    rest = [*more, 0, 0, 0][:3]
    return libc("prctl", option, *(ctypes.c_ulong(v) if isinstance(v, int) else v for v in (value, *rest)))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def drop_capabilities() -> None:
    """Gives up every privilege of root and the way back to any. Raises OSError."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    call("capset", header, (ctypes.c_uint32 * 6)())
