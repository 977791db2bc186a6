"""The command line in forked children of a process that has imported everything: a try costs no imports.

A child is the command as a user runs it, with its own output files and its own exit code. The parent adopts
what a child leaves behind (Linux), so that processes which outlive a killed run are seen.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability.clock import Clock

SUBREAPER = 36
WATCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
GRACE = 5.0
"""Seconds in which workers of a run that was killed must be gone."""
Hook = Callable[[], None]


@dataclass(frozen=True)
class Ended:
    """What became of a child."""

    code: int
    """Exit code; minus the number of the signal that killed it."""
    out: str
    err: str
    late: bool
    """Whether it was killed because it ran longer than it may."""
    left: tuple[str, ...]
    """Processes that outlived it, by command line."""
    seconds: float
    """How long it was waited for, without what this process was held up."""

    @property
    def traceback(self) -> bool:
        """Whether it died with a traceback, which no user should see."""
        return "Traceback (most recent call last)" in self.err + self.out


@dataclass(frozen=True)
class Child:
    """A child at work."""

    process: int
    out: Path
    err: Path

    def kill(self, number: int) -> None:
        """Sends it signal `number`; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, number)

    def ended(self, deadline: float = 120.0, stop: int = signal.SIGKILL, grace: bool = True) -> Ended:
        """Waits for its end; after `deadline` seconds sends it `stop`, and half a minute later SIGKILL.

        With `grace` waits for the end of what it left, too.
        """
        clock = Clock()
        status = self._waited(deadline, clock)
        if late := status is None:
            self.kill(stop)
            status = self._waited(30.0, Clock())
        if status is None:
            self.kill(signal.SIGKILL)
            status = os.waitpid(self.process, 0)[1]
        left = outliving() if grace else ()
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, _text(self.out), _text(self.err), late, left, clock.seconds)

    def _waited(self, seconds: float, clock: Clock) -> int | None:
        """The status it ended with; None where it has not ended within so many seconds."""
        while True:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                return status
            if clock.seconds > seconds:
                return None
            clock.tick()


def start(does: Callable[[], object], folder: Path, tag: str = "", *hooks: Hook) -> Child:
    """Forks a child that does `does`, after `hooks`; what it prints goes to files of `folder`."""
    out, err = folder / f"out{tag}.txt", folder / f"err{tag}.txt"
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return Child(process, out, err)
    code = 1
    try:
        for number, path in ((1, out), (2, err)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
            os.close(file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = _done(does, hooks)
    finally:
        os._exit(code)


def command(*words: object) -> Callable[[], object]:
    """`oneloop WORDS`, to be done in a child."""

    def does() -> object:
        from oneloop.cli.main import main

        sys.argv = ["oneloop", *map(str, words)]
        return main()

    return does


def run(folder: Path, *words: object, deadline: float = 120.0) -> Ended:
    """`oneloop WORDS` from its start to its end."""
    return start(command(*words), folder).ended(deadline)


def kill_at(event: int, directory: Path) -> Hook:
    """A hook: the child kills itself at its `event`-th operation on files below `directory`."""

    def hook() -> None:
        seen = 0

        def watch(name: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if name in WATCHED and str(directory) in str(arguments[0]):
                seen += 1
                if seen == event:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)

    return hook


def at_most(gibibytes: float) -> Hook:
    """A hook: the child may take so much more memory than it begins with."""

    def hook() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + int(gibibytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return hook


def outliving() -> tuple[str, ...]:
    """Command lines of children of this process that are alive after a grace; they are killed."""
    clock = Clock()
    while (alive := _children()) and clock.seconds < GRACE:
        clock.tick()
    for process in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)
    return tuple(alive.values())


def adopt() -> None:
    """Orphans of this process's children become its own children (Linux)."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def preload(recipes: Sequence[Path], folder: Path) -> None:
    """Imports what runs of `recipes` import, as children tell, and fills caches of libraries.

    Nothing here starts a thread: a fork copies none.
    """
    adopt()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    listed = folder / "modules.txt"
    for number, recipe in enumerate(recipes):
        directory = folder / f"preload-{number}"

        def does(recipe: Path = recipe, directory: Path = directory) -> None:
            with contextlib.suppress(SystemExit):
                command("train", recipe, "--run", directory, "-q")()
            listed.write_text("\n".join(sys.modules))

        ended = start(does, folder).ended()
        assert ended.code == 0, ended
        for name in listed.read_text().splitlines():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        _fill_caches(recipe, directory)
    gc.collect()
    gc.freeze()  # a collection in a child would else touch, and so copy, all that was imported


def _fill_caches(recipe: Path, directory: Path) -> None:
    from oneloop.recipe.recipe import load_recipe
    from oneloop.report import write_report

    made = load_recipe(recipe)[0]
    made.policy.outline()
    (directory / "saved").mkdir()
    made.policy.open().save(directory / "saved")
    write_report(directory)


def _done(does: Callable[[], object], hooks: Sequence[Hook]) -> int:
    """Ends as an interpreter does; the exit code."""
    code: int = 0
    try:
        try:
            for hook in hooks:
                hook()
            does()
        finally:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _children() -> dict[int, str]:
    """{process: command line} of the living children of this process; dead ones are buried."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for word in (task / "children").read_text().split():
            with contextlib.suppress(ChildProcessError, FileNotFoundError):
                if not os.waitpid(int(word), os.WNOHANG)[0]:
                    line = Path(f"/proc/{word}/cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(word)] = line.decode(errors="replace").strip()
    return found


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
