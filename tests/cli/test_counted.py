"""Progress of a command where there is no terminal, and where there is one."""

import io

import pytest
from rich.console import Console

from oneloop.cli import counted as counted_file
from oneloop.cli.counted import counted


def shown_of(steps, terminal=False):
    out = io.StringIO()
    with counted(Console(file=out, force_terminal=terminal, width=80), "fitting", steps) as count:
        for step in range(steps):
            count(step + 1, f"loss {step}")
    return out.getvalue()


def test_outside_a_terminal_work_that_is_soon_over_prints_nothing():
    assert shown_of(3) == ""


@pytest.mark.parametrize(("rhythm", "lines"), [(0.0, [1, 2, 3]), (1e9, [1, 3])])
def test_outside_a_terminal_there_are_lines_in_a_rhythm_and_one_at_the_end(monkeypatch, rhythm, lines):
    monkeypatch.setattr(counted_file, "SOON", 0.0)
    monkeypatch.setattr(counted_file, "RHYTHM", rhythm)
    assert shown_of(3).splitlines() == [f"fitting {n}/3 loss {n - 1}" for n in lines]


def test_a_terminal_has_a_bar():
    assert "loss 2" in shown_of(3, terminal=True)
