"""Settings of the whole suite."""

import os
from collections.abc import Iterator

# tables are small: a second thread of torch only waits, and several test processes share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # else Ray replaces Python's print

import pytest
from hypothesis import settings

# no deadline: the machine is shared; derandomised: a run today and a run tomorrow test the same examples
settings.register_profile("oneloop", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("oneloop")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray cluster of this machine alone, for all tests that need one."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, logging_level="ERROR")
    yield
    ray.shutdown()
