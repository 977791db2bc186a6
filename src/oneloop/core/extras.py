"""Optional packages: what is missing, and the command that brings it."""


class MissingExtra(ImportError):
    """Something asked for needs an optional package that is not installed."""

    def __init__(self, asked: str, package: str, extra: str):
        super().__init__(f"{asked} needs {package}: {command(extra)}")


def command(extra: str) -> str:
    """How to install the optional packages of `extra`, one of those of pyproject.toml."""
    return f"in your clone of oneloop, pip install '.[{extra}]'"
