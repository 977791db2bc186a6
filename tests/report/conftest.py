"""One made-up run directory for all tests of the report."""

from pathlib import Path

import pytest

from tests.report.made_up_run import write_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """Read only: tests that change a run directory make their own with `write_run`."""
    return write_run(tmp_path_factory.mktemp("runs") / "quickstart-seed0")
