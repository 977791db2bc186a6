"""SIGTERM stops a command as Ctrl-C does, at any moment of it; the exit codes are 143 and 130."""

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
        if came and error.code == INTERRUPTED:
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
