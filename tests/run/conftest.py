"""Runs that the tests of a file share."""

import pytest


@pytest.fixture(scope="module")
def whole_run(request, tmp_path_factory):
    """The run that the file's own `train(directory)` makes when nothing interrupts it."""
    return request.module.train(tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2]) / "run")


@pytest.fixture(scope="module")
def whole(whole_run):
    """Its directory."""
    return whole_run.directory
