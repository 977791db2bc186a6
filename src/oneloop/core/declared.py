"""What a part declared of itself with `@part`: the columns it reads and writes, and the units it accepts."""

import inspect
from typing import Any


def is_part(thing: Any) -> bool:
    """Whether `thing` is a class that `@part` made."""
    return inspect.isclass(thing) and "part_reads" in vars(thing)


def declared(instance: Any, what: str) -> tuple[str, ...]:
    """What `instance` declared as "reads", "writes" or "units"; () for a plain function or object."""
    value = getattr(type(instance), f"part_{what}", ())
    return tuple(value(instance) if callable(value) else value)
