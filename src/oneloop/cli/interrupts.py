"""SIGTERM stops a command as Ctrl-C does, at any moment of it; the exit codes are 143 and 130."""

import atexit
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED, TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM came: batch systems send it before they kill."""


@contextmanager
def interrupts_exit() -> Iterator[None]:
    """SIGTERM and SIGINT end what is inside with SystemExit, after its `finally` and `except` blocks."""
    came = False

    def stop(*_: Any) -> None:
        nonlocal came
        came = True
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(TERMINATED if came else INTERRUPTED) from None
    except SystemExit as error:  # the command line's library makes every interrupt a 130
        if error.code == INTERRUPTED:
            raise SystemExit(TERMINATED if came else INTERRUPTED) from None
        raise
    finally:
        atexit.unregister(_ignore)
        atexit.register(_ignore)  # runs first of all that the interpreter does at its end
        signal.signal(signal.SIGTERM, before)


def _ignore() -> None:
    """Lets an interpreter that ends anyway end: a second Ctrl-C would be a traceback of some library."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
