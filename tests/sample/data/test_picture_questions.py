"""Pictures show what the answer says, as one reads it back from their pixels."""

import numpy as np
import pytest
from scipy import ndimage

from oneloop.sample.data.picture_questions import COLOURS, PictureQuestions


def test_as_many_discs_are_drawn_as_the_answer_says():
    data = PictureQuestions(kinds=("count",), most=9, image_size=48)
    for key in range(60):
        row = data[key]
        drawn = (np.asarray(row["images"][0]) != 255).any(-1)
        assert ndimage.label(drawn)[1] == int(row["answer"]) and row["completion"] == row["answer"]
    assert {data[key]["answer"] for key in range(200)} == set("123456789")


def test_the_colour_asked_for_is_the_only_one():
    data = PictureQuestions(kinds=("colour",))
    for key in range(60):
        row = data[key]
        pixels = {tuple(pixel) for pixel in np.asarray(row["images"][0]).reshape(-1, 3).tolist()}
        assert pixels - {(255, 255, 255), (190, 190, 190)} == {COLOURS[row["answer"]]}


def test_digits_differ_in_their_pixels_and_stay_in_the_picture():
    data = PictureQuestions(kinds=("digits",), digits=1)
    found = {}
    for key in range(400):
        row = data[key]
        black = np.asarray(row["images"][0]).sum(-1) == 0
        columns, lines = np.flatnonzero(black.any(0)), np.flatnonzero(black.any(1))
        glyph = black[lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1]
        assert columns[0] > 0 and columns[-1] < 31 and lines[0] > 0 and lines[-1] < 31
        found.setdefault((glyph.shape, glyph.tobytes()), set()).add(row["answer"])
    assert all(len(answers) == 1 for answers in found.values())


def test_rows_are_a_function_of_seed_split_and_number():
    one, other = PictureQuestions(), PictureQuestions()
    assert np.array_equal(one[7]["images"][0], other[7]["images"][0])
    different = (PictureQuestions(seed=1), PictureQuestions(split="test"))
    assert all(np.any(np.asarray(one[9]["images"][0]) != each[9]["images"][0]) for each in different)
    assert [one[key]["kind"] for key in range(4)] == ["count", "colour", "digits", "count"]
    with pytest.raises(IndexError, match="row 10000: there are 10000 rows"):
        one[10000]
