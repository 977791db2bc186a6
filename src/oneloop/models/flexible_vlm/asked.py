"""How many visual tokens the call that is running asks for; nothing is left behind when it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

Count = int | Tensor | None
"""One number for all pictures, int64 [pictures], or None: the model's own."""
ASKED: ContextVar[Count] = ContextVar("visual tokens of the call that is running", default=None)


@contextmanager
def asking(count: Count) -> Iterator[None]:
    """Inside this context pictures have `count` tokens; None leaves what was asked outside of it."""
    if count is None:
        yield
        return
    before = ASKED.set(count)
    try:
        yield
    finally:
        ASKED.reset(before)
