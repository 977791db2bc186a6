"""Share: lines, tables, and the promise that a share only grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.select.kept_share import Share


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_line_from_start_to_end(one, other):
    low, high = sorted((one, other))
    line = [Share(start=low, end=high).at({"progress": p}) for p in (0.0, 0.5, 1.0)]
    assert line == pytest.approx([low, (low + high) / 2, high])


def test_a_table_and_a_constant():
    table = Share(start=0.1, table=((0.25, 0.5), (0.75, 1.0)))
    assert [table.at({"progress": p}) for p in (0, 0.24, 0.25, 0.74, 0.75)] == [0.1, 0.1, 0.5, 0.5, 1.0]
    assert Share(start=0.3).at({}) == 0.3


def test_a_share_may_fall_only_when_told_to():
    with pytest.raises(ValueError, match="only grow"):
        Share(start=0.5, end=0.2)
    with pytest.raises(ValueError, match="only grow"):
        Share(start=0.5, table=((0.5, 0.2),))
    assert Share(start=0.5, end=0.2, tightens=True).at({"progress": 1.0}) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "options", [{"start": 0}, {"start": 1.1}, {"end": 1, "table": ((0, 1),)}, {"table": ((0.5, 1), (0.5, 1))}]
)
def test_bad_options(options):
    with pytest.raises(ValueError):
        Share(**options)


def test_progress_must_be_known():
    with pytest.raises(ValueError, match="progress"):
        Share(start=0.1, end=1.0).at({"step": 3})
