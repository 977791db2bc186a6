"""counter.py: known values of splitmix64, purity, broadcasting and the quality of the draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.draws import GOLDEN, _scramble, mix, uniforms

words = st.integers(-(2**63), 2**64 - 1)


def test_scramble_gives_the_published_splitmix64_sequence():
    state, drawn = np.asarray(np.uint64(1234567)), []
    for _ in range(5):  # reference values of the public-domain C code by Vigna for seed 1234567
        drawn.append(int(_scramble(state)))
        with np.errstate(over="ignore"):
            state = np.asarray(state + GOLDEN)
    assert drawn == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(words, words, words)
def test_scalars_and_arrays_agree(first, second, third):
    seconds = np.array([second % 2**64, 7], dtype=np.uint64)
    row = mix(first, seconds, third)
    assert row.dtype == np.uint64 and row.shape == (2,)
    assert row[0] == mix(first, second, third) and row[1] == mix(first, 7, third)


@given(words, words)
def test_order_and_number_of_parts_matter(first, second):
    if first % 2**64 != second % 2**64:
        assert mix(first, second) != mix(second, first)
    assert mix(first) != mix(first, 0) and mix(first) != mix(0, first)


def test_broadcasting_names_each_cell_once():
    cells = mix(3, np.arange(200)[:, None], np.arange(300))
    assert cells.shape == (200, 300) and len(np.unique(cells)) == 60_000


@given(st.text(max_size=20))
def test_text_is_a_part(text):
    assert mix(text, 1) == mix(text, 1) and mix(text) != mix(text + "x")


@pytest.mark.parametrize("part", [1.0, np.array([0.5]), np.array([True]), None])
def test_other_parts_are_refused(part):
    with pytest.raises(TypeError, match="integers"):
        mix(part)
    with pytest.raises(ValueError, match="at least one"):
        mix()


def test_uniforms_are_uniform_and_uncorrelated_along_both_axes():
    drawn = uniforms(np.arange(400)[:, None], np.arange(500))
    assert drawn.min() >= 0 and drawn.max() < 1
    counts = np.histogram(drawn, bins=100, range=(0, 1))[0]
    chi_square = float(((counts - 2000) ** 2 / 2000).sum())
    assert 50 < chi_square < 160  # 99 degrees of freedom: mean 99, deviation 14
    for axis in (0, 1):
        here, there = drawn.take(range(399), axis), drawn.take(range(1, 400), axis)
        near = np.corrcoef(here.ravel(), there.ravel())[0, 1]
        assert abs(near) < 0.01
