"""What a run ran on, for the record and for `oneloop env`."""

import json
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import oneloop
from oneloop.core.text import without_logins

PACKAGES = ("torch", "transformers", "peft", "datasets", "reasoning-gym", "math-verify")


def environment() -> str:
    """JSON: versions, processor, accelerator, command line, time of start."""
    facts: dict[str, Any] = {
        "oneloop": oneloop.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "command": without_logins(" ".join(sys.argv)),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    return json.dumps(facts, indent=2)


def hardware() -> str:
    """The accelerator, or processor and threads, in a few words."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
