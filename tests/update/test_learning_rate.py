"""learning_rate.py: worked numbers, and that scaling there and back is nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.update.learning_rate import scale_learning_rate

BATCHES = st.integers(1, 10**6)


def test_worked_numbers():
    assert scale_learning_rate(1e-6, 8192, 65536) == pytest.approx(2.828427e-6, rel=1e-6)
    assert scale_learning_rate(1e-6, 8192, 65536, "linear") == pytest.approx(8e-6)
    assert scale_learning_rate(3e-4, 64, 64) == 3e-4


@given(BATCHES, BATCHES, st.sampled_from(["sqrt", "linear"]))
def test_there_and_back(one, other, scaling):
    there = scale_learning_rate(1e-5, one, other, scaling)
    assert scale_learning_rate(there, other, one, scaling) == pytest.approx(1e-5)
    assert (there > 1e-5) == (other > one) or there == pytest.approx(1e-5)


@pytest.mark.parametrize(("base", "batch"), [(0, 8), (8, 0), (-1, 1)])
def test_an_empty_batch_is_an_error(base, batch):
    with pytest.raises(ValueError, match=rf"got base_batch={base} and batch={batch}"):
        scale_learning_rate(1e-5, base, batch)
