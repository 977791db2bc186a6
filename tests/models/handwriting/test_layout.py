"""Where there is ink: specks, lines and words of small pictures drawn by hand."""

import numpy as np
import pytest

from oneloop.models.handwriting.layout import ink_of, lines_of, runs, words_of


def spans(slices):
    return [(each.start, each.stop) for each in slices]


@pytest.mark.parametrize(
    ("gap", "wanted"),
    [(0, [(1, 3), (4, 5), (8, 10)]), (1, [(1, 5), (8, 10)]), (2, [(1, 5), (8, 10)]), (3, [(1, 10)])],
)
def test_runs_with_small_gaps_are_one(gap, wanted):
    assert spans(runs(np.array([0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0]), gap)) == wanted


def test_specks_are_no_ink():
    clean = np.ones((60, 60))
    clean[5:55, 5:55] = 0.2  # 2500 pixels: a speck has fewer than 5
    clean[1, 1:5] = 0.2
    clean[58, 0:5] = 0.2
    clean[2, 58], clean[1, 59] = 0.5, 0.6  # too light
    ink = ink_of(clean)
    assert ink.sum() == 2500 + 5
    assert not ink[1].any() and ink[58, :5].all()
    assert not ink_of(np.ones((3, 4))).any()


def test_places_that_touch_at_a_corner_are_one_spot():
    clean = np.ones((4, 4))
    clean[[0, 1, 2], [0, 1, 2]] = 0
    clean[0, 3] = 0  # a spot of one pixel
    assert np.argwhere(ink_of(clean)).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_lines_from_above_and_what_is_too_low_for_one():
    ink = np.zeros((70, 20), dtype=bool)
    ink[0:20], ink[30:50], ink[60:65] = True, True, True
    # a gap of 10 rows is more than 0.3 of 20; 5 rows are less than 0.3 of 20
    assert spans(lines_of(ink)) == [(0, 20), (30, 50)]
    ink[60:66] = True
    assert spans(lines_of(ink)) == [(0, 20), (30, 50), (60, 66)]


def test_the_dot_of_an_i_is_of_its_line():
    ink = np.zeros((30, 4), dtype=bool)
    ink[0:2], ink[6:26] = True, True  # 4 rows between, 0.3 of 20 are 6
    assert spans(lines_of(ink)) == [(0, 26)]


def test_words_are_told_from_letters_by_the_usual_gap():
    line = np.zeros((20, 60), dtype=bool)
    for start in (0, 6, 12, 26, 32):  # letters of 4 columns, 2 between them, 10 between words
        line[:, start : start + 4] = True
    assert spans(words_of(line)) == [(0, 16), (26, 36)]
    # wide gaps between all letters: twice the usual gap is more than `SURE` heights, which then decides
    wide = np.zeros((20, 60), dtype=bool)
    for start in (0, 12, 24, 37):
        wide[:, start : start + 4] = True
    assert spans(words_of(wide)) == [(0, 28), (37, 41)]
    assert spans(words_of(np.ones((4, 7), dtype=bool))) == [(0, 7)]
