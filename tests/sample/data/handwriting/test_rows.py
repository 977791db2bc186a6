"""Rows of handwriting: padding, references that differ, and a target that is too wide."""

from collections import Counter

import numpy as np
import pytest

from oneloop.sample.data.handwriting.rows import row, two_others


def given(**options):
    image = np.zeros((2, 3), dtype=np.float32)
    views = (np.full((2, 4), 0.2), np.full((2, 5), 0.4))
    return row(
        **{
            "text": "ab",
            "image": image,
            "references": views,
            "writer": (7, "ann"),
            "width": 6,
            "where": "w.png",
            **options,
        }
    )


def test_a_row_says_what_is_written_by_whom():
    found = given()
    assert found["image"].shape == (1, 2, 6) and found["width"] == 3 and found["image"].dtype == np.float32
    assert found["image"][0, 0].tolist() == [0, 0, 0, 1, 1, 1]  # paper on the right
    assert found["reference"].shape == (1, 2, 4) and found["positive"].shape == (1, 2, 5)
    assert (found["prompt"], found["writer"], found["writer_name"]) == ("ab", 7, "ann")
    assert given(width=None)["image"].shape == given(width=3)["image"].shape == (1, 2, 3)
    with pytest.raises(ValueError, match=r"w\.png is 3 pixels wide at this height; width is 2"):
        given(width=2)


def test_two_others_are_any_two_that_differ():
    pairs = Counter(two_others(3, (0, "references", key)) for key in range(1200))
    assert set(pairs) == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert min(pairs.values()) > 140  # of 200 each; 5 standard deviations of 12.9 are 65
    assert two_others(1, (0, "references", 1)) == (0, 0)
    assert {two_others(2, (1, key)) for key in range(20)} == {(0, 1), (1, 0)}
    assert two_others(9, (0, "a", 1)) == two_others(9, (0, "a", 1))
