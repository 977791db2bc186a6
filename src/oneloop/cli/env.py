"""`oneloop env`: prints versions and hardware for bug reports."""

from oneloop.run.environment import environment


def env() -> None:
    """Print versions and hardware, for bug reports.

    Example: oneloop env
    """
    print(environment())
