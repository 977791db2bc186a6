"""Shuts this process in, layer by layer; what the system does not offer is left out and told.

environment  nothing of the parent's environment but what is listed (set where the process is started)
folder       an empty folder of its own as working directory, HOME and TMPDIR
user         a user namespace, in which the next three need no privilege
processes    a process namespace: others are not seen, and all children end with the worker
network      a network namespace without devices
root         a root of its own: files that are not listed do not exist
landlock     files that are not listed cannot be opened
seccomp      system calls that are never needed are denied
privileges   those of root are given up
"""

import contextlib
import os
import resource
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oneloop.judge.isolation import landlock, namespaces, seccomp, system

LAYERS = ("user", "processes", "network", "root", "landlock", "seccomp", "privileges")
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/sys/devices/system/cpu"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/etc/fonts", "/etc/mime.types"),
)
"""What programs need of the system: libraries, time zones, how many processors there are."""
FACTS = ("/proc/cpuinfo", "/proc/meminfo")
NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/ssl", "/etc/pki")
PROCESSES = 256
OPEN_FILES = 512
FILE_SIZE = 2**30
PACKAGE = Path(__file__).parents[2]
"""The folder of oneloop."""


@dataclass(frozen=True)
class Access:
    """What a worker may touch beyond Python itself and a folder of its own."""

    network: bool = False
    """Whether it may open connections."""
    environment: tuple[str, ...] = ()
    """Names of environment variables it is told."""
    files: tuple[str, ...] = ()
    """Files and folders it may read."""


class Confinement:
    """The layers of one process in the order in which they are put on; `held` are those that it has."""

    def __init__(self, layers: Sequence[str] = LAYERS):
        self.wanted = layers
        self.held: list[str] = []
        self.missing: dict[str, str] = {}
        self._size = -1

    def before_fork(self, network: bool) -> None:
        """Enters the namespaces that the next fork, the worker, is born into."""
        self._put("user", namespaces.enter_user_namespace)
        self._put("processes", namespaces.leave_processes)
        if not network:
            self._put("network", namespaces.leave_network)

    def after_fork(self, folder: str, access: Access) -> str:
        """Shuts the worker in; returns its private folder, which is where it then is."""
        self._size = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if system.LINUX else -1
        readable = [*SYSTEM, *python(), *access.files, *(NETWORK if access.network else ())]

        def root() -> None:
            nonlocal folder
            folder = namespaces.private_root(folder, readable, "processes" in self.held)

        if "user" in self.held:
            with contextlib.suppress(OSError):  # read-only in many containers
                namespaces.forbid_namespaces()
        self._put("root", root)
        os.chdir(folder)
        os.environ.update(HOME=folder, TMPDIR=folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _at_most(resource.RLIMIT_NOFILE, OPEN_FILES)
        _at_most(resource.RLIMIT_FSIZE, FILE_SIZE)
        if "user" in self.held:  # elsewhere the limit counts all processes of this user, not these alone
            _at_most(resource.RLIMIT_NPROC, PROCESSES)
        self._put("landlock", lambda: landlock.restrict(self._rules(folder, readable), access.network))
        self._put("privileges", system.drop_capabilities)
        self._put("seccomp", lambda: seccomp.deny_dangerous(access.network))
        return folder

    def more_memory(self, megabytes: int) -> int | None:
        """Bytes of address space: what this process has and `megabytes` more. None where that is unknown."""
        if self._size < 0:
            return None
        pages = int(os.pread(self._size, 64, 0).split()[0])
        return pages * resource.getpagesize() + megabytes * 2**20

    def _rules(self, folder: str, readable: Sequence[str]) -> list[tuple[str, int]]:
        rules = [(path, landlock.READ) for path in (*readable, *FACTS)]
        rules += [(path, landlock.READ | landlock.WRITE_FILE) for path in namespaces.DEVICES]
        rules += [(path, landlock.ON_FILES) for path in readable if path.startswith("/dev/")]
        rules += [(folder, ~0), (str(PACKAGE.parent), landlock.LIST)]
        if "root" in self.held:
            rules += [("/proc", landlock.READ | landlock.WRITE_FILE), ("/dev/shm", ~0), ("/tmp", ~0)]
        return rules

    def _put(self, layer: str, action: Callable[[], None]) -> None:
        if layer not in self.wanted:
            self.missing[layer] = "switched off"
            return
        try:
            action()
        except OSError as error:
            self.missing[layer] = error.strerror or str(error)
        else:
            self.held.append(layer)


def python() -> list[str]:
    """The folders of the running Python, of its packages and of oneloop."""
    known = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(PACKAGE), *sysconfig.get_paths().values()}
    known |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    known |= {folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder}
    return sorted(known)


def _at_most(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))
