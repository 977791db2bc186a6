"""One writer a run directory, enforced by a lock that ends with the process that holds it.

The file `writer.lock` is locked with `flock`, which the system releases when its process ends, however it
ends, and which Linux carries over NFS from host to host. Some file systems keep locks to one host or have
none, so the file itself is a second guard: it names its writer (host, process, since when) and is touched
every BEAT seconds. A process on another host takes over only a file that was not touched for STALE seconds.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oneloop.core.processes import runs
from oneloop.run.stopping import held_back

NAME = "writer.lock"
BEAT = 10.0
"""Seconds between two signs of life."""
STALE = 60.0
"""Seconds without a sign after which a writer on another host counts as dead."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What a file system without locks answers."""

_held: "weakref.WeakSet[Lock]" = weakref.WeakSet()


class InUse(RuntimeError):
    """Another run writes to the directory, or has taken it over; the message says which."""


class Lock:
    """Holds a directory, which it makes, from its construction until `release` or the end of the process.

    `says` gets a sentence where there is something to wait for or to know. Raises InUse when somebody else
    holds the directory, in this process or another.
    """

    _finalizer: "weakref.finalize[Any, Lock] | None"

    def __init__(self, directory: Path, says: Callable[[str], None] = lambda _: None):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.path, self._says = directory, directory / NAME, says
        self._file, self._finalizer = -1, None
        try:
            with held_back():
                self._locks = self._open()
            self._outwait()
            with held_back():
                self._hold()
        except BaseException:  # somebody else holds it, or a signal came
            self.release()
            raise

    def release(self) -> None:
        """Lets the directory go; nothing happens the second time."""
        if self._finalizer is not None:
            self._finalizer()
        else:
            self._abandon()

    def check(self) -> None:
        """Raises InUse when another host took the directory over, thinking that this process is dead."""
        found = None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                found = _read(self._file)
        if found != self._me:
            raise InUse(
                f"{self.directory} was taken over{_who(found)} while this run stood still, so it ends here"
            )

    def _open(self) -> bool:
        """Opens and locks the file; whether the file system has locks."""
        while True:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.path.exists() and os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                    return True
            except BlockingIOError:
                raise self._in_use(_named(self._file)) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                self._says(f"the file system of {self.directory} has no locks; start no second run there")
                return False
            # the run before ended between these lines and took its file with it
            file, self._file = self._file, -1
            os.close(file)

    def _hold(self) -> None:
        """Names this process in the file, and touches it from now on."""
        self._me = {"host": socket.gethostname(), "process": os.getpid(), "since": _now()}
        stop = threading.Event()
        self._finalizer = weakref.finalize(self, _let_go, self.path, self._file, stop)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(self._me).encode(), 0)
        threading.Thread(target=_beat, args=(self._file, stop), name="oneloop lock", daemon=True).start()
        _held.add(self)

    def _abandon(self) -> None:
        """Closes the file; removes it where nobody else holds it and it names nobody."""
        file, self._file = self._file, -1
        if file < 0:
            return
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _read(file) is None:
                _delete(self.path, file)
        os.close(file)

    def _in_use(self, writer: Any) -> InUse:
        return InUse(
            f"{self.directory} is being written by another run{_who(writer)}; "
            "wait for its end, or give another --run"
        )

    def _outwait(self) -> None:
        """Raises InUse if the writer that the file names gives a sign of life where locks do not reach it."""
        writer = _read(self._file)
        if writer is None or (self._locks and writer.get("host") == socket.gethostname()):
            return
        if writer.get("host") == socket.gethostname():
            if isinstance(process := writer.get("process"), int) and runs(process):
                raise self._in_use(writer)
            return
        self._says(f"{self.directory} was not closed{_who(writer)}; waiting {STALE:g} s for a sign of life")
        seen, end = os.stat(self.path).st_mtime_ns, time.monotonic() + STALE
        while time.monotonic() < end:
            time.sleep(min(1.0, STALE / 10))
            if os.stat(self.path).st_mtime_ns != seen:
                raise self._in_use(writer)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")


def _named(file: int) -> dict[str, Any] | None:
    """Who holds the lock of `file`; None if the holder does not say so within a second."""
    for _ in range(20):  # it writes its name after it has the lock
        if (writer := _read(file)) is not None:
            return writer
        time.sleep(0.05)
    return None


def _read(file: int) -> dict[str, Any] | None:
    """The writer a lock file names; None where it is empty or damaged."""
    try:
        found = json.loads(os.pread(file, 4096, 0))
    except (ValueError, OSError):
        return None
    return found if isinstance(found, dict) else None


def _who(writer: dict[str, Any] | None) -> str:
    if writer is None:
        return ""
    return f" (host {writer.get('host')}, process {writer.get('process')}, since {writer.get('since')})"


def _beat(file: int, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):  # the disk may be away for a while; the lock is not
            os.utime(file)


def _let_go(path: Path, file: int, stop: threading.Event) -> None:
    try:
        _delete(path, file)
    except BaseException:  # Ctrl-C came right here
        _delete(path, file)
        raise
    finally:
        stop.set()
        os.close(file)


def _delete(path: Path, file: int) -> None:
    with contextlib.suppress(OSError):  # a lock file that stays is free all the same
        if os.path.samestat(os.stat(path), os.fstat(file)):
            path.unlink()


def _forget() -> None:
    """Closes the lock file in a forked child, so that the lock ends with its parent."""
    for lock in list(_held):
        # one that was let go has none to detach, and its number may be another file's now
        if lock._finalizer is not None and lock._finalizer.detach() is not None:
            os.close(lock._file)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
