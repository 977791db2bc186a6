"""Settings of the whole suite, and the rule that a test leaves nothing behind for the next one."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# tables are small: a second thread of torch only waits, and several test processes share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # else Ray replaces Python's print

import numpy as np
import pytest
import torch
from hypothesis import settings

from oneloop.core.scratch import Scratch

# no deadline: the machine is shared; derandomised: a run today and a run tomorrow test the same examples
settings.register_profile("oneloop", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("oneloop")

OF_PYTEST = "PYTEST_CURRENT_TEST"
"""An environment variable that pytest itself changes during a test."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: of two processes none shall begin a long file when the other ends."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test draws from the same generators, whichever tests ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(autouse=True, scope="session")
def no_wait_for_the_disk() -> Iterator[None]:
    """Flushes end at once: only a power cut would show the difference, and 150 in a run of a second cost half
    a second more. tests/core/test_storage.py asserts what is flushed, and when."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        yield


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Undoes what a test changed in its process."""
    modules, before = set(sys.modules), surroundings()
    yield
    forget(sys.modules.keys() - modules, tmp_path_factory.getbasetemp())
    if surroundings() != before:
        restore(before, libraries=bool(sys.modules.keys() - modules))


@pytest.fixture(autouse=True, scope="module")
def no_module_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forgets what a file's own fixtures imported from a temporary folder."""
    yield
    forget(set(sys.modules), tmp_path_factory.getbasetemp())


def forget(names: set[str], folder: Path) -> None:
    """Removes from sys.modules what `names` are there of modules whose file lies below `folder`."""
    for name in names:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]


def surroundings() -> dict[str, Any]:
    """What all tests of a process share, by what it is called."""
    return {
        "working directory": os.getcwd(),
        "environment": {name: value for name, value in os.environ.items() if name != OF_PYTEST},
        "sys.path": list(sys.path),
        "number of threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


def restore(before: dict[str, Any], libraries: bool) -> None:
    """Puts back what `surroundings` returned; variables that `libraries` added when first imported stay."""
    os.chdir(before["working directory"])
    for name in os.environ.keys() - before["environment"].keys() - {OF_PYTEST}:
        if not libraries:
            del os.environ[name]
    os.environ.update(before["environment"])
    sys.path[:] = before["sys.path"]
    torch.set_num_threads(before["number of threads"])
    torch.set_default_dtype(before["default dtype"])
    torch.use_deterministic_algorithms(before["deterministic mode"])


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A Ray cluster of this machine alone, for the tests of a file that need one."""
    # of a file: while Ray's threads live, tracemalloc in a later file crashes the interpreter
    ray = pytest.importorskip("ray")
    from oneloop.parallel.runtime.cluster import HERE

    options: dict[str, Any] = {"include_dashboard": False, "logging_level": "ERROR", "_system_config": HERE}
    with Scratch() as folder:
        ray.init(num_cpus=2, object_store_memory=80 * 2**20, _temp_dir=folder, **options)
        yield
        ray.shutdown()
