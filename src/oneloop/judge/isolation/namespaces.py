"""A view of the system in which other processes, the network and other files do not exist (Linux namespaces).

Needs no privilege where the system lets users make user namespaces; inside most containers it does not.
"""

import contextlib
import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from oneloop.judge.isolation.system import call, libc

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    1 << 30,
)
READ_ONLY, NO_SETUID, NO_DEVICES, NO_EXECUTION, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 1 << 18
DETACH = 2
HERE, RECURSIVELY = -100, 0x8000
"""AT_FDCWD and AT_RECURSIVE of mount_setattr(2)."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def enter_user_namespace() -> None:
    """Makes this process the owner of a user namespace in which it keeps its number. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    libc("unshare", NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def forbid_namespaces() -> None:
    """No process in the user namespace makes a further one, in which it would have privileges again."""
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def leave_network() -> None:
    """Leaves this process and its children a network without a single device that is up. Raises OSError."""
    libc("unshare", NEWNET)


def leave_processes() -> None:
    """The next fork is the first process of a namespace of its own and ends all in it with itself."""
    libc("unshare", NEWPID | NEWIPC | NEWUTS)


def private_root(place: str, readable: Sequence[str], own_processes: bool) -> str:
    """Makes a root in memory over the empty folder `place`; returns the folder in it that may be written.

    `readable` are there under their names, read-only but for devices. Raises OSError.
    """
    libc("unshare", NEWNS)
    _mount("none", "/", None, RECURSIVE | PRIVATE)
    _mount("tmpfs", place, "tmpfs", NO_SETUID | NO_DEVICES, "mode=0700,size=1g")
    try:
        _furnish(place, readable, own_processes)
        os.chdir(place)
        call("pivot_root", b".", b".")
    except OSError:  # what was bound and is not read-only yet must not be left within reach
        libc("umount2", place.encode(), DETACH)
        raise
    libc("umount2", b".", DETACH)
    os.chdir("/private")
    return "/private"


def _furnish(place: str, readable: Sequence[str], own_processes: bool) -> None:
    for path in _outermost(readable):
        _show(place, path, read_only=not path.startswith("/dev/"))
    for device in DEVICES:
        with contextlib.suppress(OSError):
            _show(place, device, read_only=False)
    if own_processes:
        os.mkdir(f"{place}/proc")
        with contextlib.suppress(OSError):  # refused where a container hides parts of its own
            _mount("proc", f"{place}/proc", "proc", NO_SETUID | NO_DEVICES | NO_EXECUTION)
    for folder in ("private", "tmp", "dev/shm"):
        os.makedirs(f"{place}/{folder}", exist_ok=True)


def _outermost(paths: Sequence[str]) -> list[str]:
    """The existing among `paths`, under their real names too, without those inside another."""
    wanted = {name for path in paths if os.path.exists(path) for name in (path, os.path.realpath(path))}
    return [path for path in sorted(wanted) if not any(path.startswith(f"{above}/") for above in wanted)]


def _show(root: str, path: str, read_only: bool) -> None:
    shown = root + path
    if os.path.isdir(path):
        os.makedirs(shown, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(shown), exist_ok=True)
        Path(shown).touch()
    _mount(os.path.realpath(path), shown, None, BIND | RECURSIVE)
    if read_only:
        attributes = (ctypes.c_uint64 * 4)(READ_ONLY | NO_SETUID)
        call("mount_setattr", HERE, shown.encode(), RECURSIVELY, attributes, ctypes.c_size_t(32))


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    arguments = [text and text.encode() for text in (source, target, kind)]
    libc("mount", *arguments, ctypes.c_ulong(flags), options and options.encode())
