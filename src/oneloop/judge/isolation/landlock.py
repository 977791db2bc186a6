"""Which files a process and its children may open, by rules in the kernel (Landlock, from Linux 5.13 on).

Needs no privilege. What is not listed cannot be opened, and processes outside cannot be traced; from Linux
6.7 on TCP, from 6.12 on signals to processes outside and abstract sockets are denied too.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

from oneloop.judge.isolation.system import PR_SET_NO_NEW_PRIVS, call, prctl

EXECUTE, READ_FILE, READ_DIR = 1, 4, 8
WRITE_FILE, TRUNCATE, IOCTL = 2, 1 << 14, 1 << 15
ON_FILES = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE | IOCTL
ALL = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
"""Rights over files that each version of Landlock knows; later versions know those of 5."""
READ = EXECUTE | READ_FILE | READ_DIR
LIST = READ_DIR


def restrict(rules: Iterable[tuple[str, int]], network: bool) -> None:
    """Leaves this process what `rules` (path, rights) allow; a path that is not there is left out.

    Raises OSError where the kernel has no Landlock.
    """
    version = call("landlock_create_ruleset", None, ctypes.c_size_t(0), 1)
    rights = ALL[min(version, 5)]
    tcp = 3 if version >= 4 and not network else 0  # bind, connect
    scopes = 3 if version >= 6 else 0  # abstract sockets, signals
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("QQQ", rights, tcp, scopes)[:size]
    ruleset = call("landlock_create_ruleset", attributes, ctypes.c_size_t(size), 0)
    try:
        for path, allowed in rules:
            _allow(ruleset, path, allowed & rights)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rights if os.path.isdir(path) else rights & ON_FILES
        rule = struct.pack("=Qi", allowed, place)
        call("landlock_add_rule", ruleset, 1, rule, 0)
    finally:
        os.close(place)
