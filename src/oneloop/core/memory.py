"""Bytes a run needs and bytes there are: rows of an estimate, and what is free on a device."""

import ctypes
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from rich.table import Table

GIB = 1024**3
ACTIVATIONS = 17
"""Numbers a transformer block keeps for the backward pass, per token and unit of width (arXiv 2205.05198)."""
LIMIT, USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


@dataclass(frozen=True)
class MemoryRow:
    """One line of the estimate."""

    what: str
    bytes: int
    how: str


@dataclass(frozen=True)
class Needs:
    """What a run needs on `device`."""

    rows: tuple[MemoryRow, ...]
    device: str
    remedy: str
    """What to lower when it is too much."""

    @property
    def total(self) -> int:
        """Everything added up, in bytes."""
        return sum(row.bytes for row in self.rows)


@dataclass(frozen=True)
class Estimate:
    """What a run needs, and what is free there."""

    needs: Needs
    free: int
    """Bytes."""
    failed: str = ""
    """Why nothing could be counted."""

    @property
    def rows(self) -> tuple[MemoryRow, ...]:
        """What takes any memory."""
        return tuple(row for row in self.needs.rows if row.bytes)

    @property
    def total(self) -> int:
        """Everything added up, in bytes."""
        return self.needs.total

    @property
    def sentence(self) -> str:
        """One line; says so when it is more than there is."""
        if self.failed:
            return f"memory: cannot be estimated for this model ({self.failed}); that stops nothing"
        large = ", ".join(
            f"{row.what} {size(row.bytes)}" for row in sorted(self.rows, key=lambda row: -row.bytes)[:3]
        )
        device, free = self.needs.device, size(self.free)
        text = f"memory: about {size(self.total)} on {device} ({large}); {free} are free"
        return text if self.total <= self.free else f"{text}: NOT ENOUGH. {self.needs.remedy}"

    def table(self) -> Table:
        """All rows."""
        table = Table(title=f"memory on {self.needs.device}", title_justify="left")
        for column in ("what", "size", "how"):
            table.add_column(column, justify="right" if column == "size" else "left")
        for row in self.rows:
            table.add_row(row.what, size(row.bytes), row.how)
        table.add_section()
        table.add_row("together", size(self.total), f"{size(self.free)} are free")
        return table


def device_of(asked: str, field: str = "device") -> str:
    """The device that `asked` means; auto: a GPU where there is one.

    Raises ValueError, which begins with `field`, for what is no device, or one that is not in this machine.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except Exception as error:  # each kind of device has an error of its own
        known = ", ".join(["auto", "cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))])
        why = re.split(r"\. |\n", str(error))[0] or type(error).__name__
        raise ValueError(f"{field}: '{asked}' is not to be had here ({why}); there is: {known}") from error
    return asked


def free_memory(device: str) -> int:
    """Bytes this process can still take on `device`, a container's limit included."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    if LIMIT.exists() and (limit := LIMIT.read_text(encoding="utf-8").strip()).isdigit():
        free = min(free, max(0, int(limit) - int(USED.read_text(encoding="utf-8"))))
    return free


def give_back() -> None:
    """Has the C library return the memory that nothing uses to the system; only that of GNU can.

    Between the things that a long run keeps it would hold more and more of it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def size(count: int) -> str:
    """Bytes as people read them."""
    for unit, scale in (("GiB", GIB), ("MiB", 1024**2)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
