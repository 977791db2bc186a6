"""Settings of the whole suite."""

import os

# tables are small: a second thread of torch only waits, and several test processes share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# no deadline: the machine is shared; derandomised: a run today and a run tomorrow test the same examples
settings.register_profile("oneloop", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("oneloop")
