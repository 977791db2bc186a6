"""Settings of the whole suite."""

from hypothesis import settings

# no deadline: the machine is shared; derandomised: a run today and a run tomorrow test the same examples
settings.register_profile("oneloop", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("oneloop")
