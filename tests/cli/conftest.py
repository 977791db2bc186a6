"""What tests of commands share."""

import sys

import pytest

from oneloop.cli.main import main


@pytest.fixture
def oneloop(monkeypatch, capsys):
    """Calls `oneloop <words>`; gives (exit code, output, errors)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["oneloop", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call
