"""Pictures of words in files: who may be a reference of what, and what is left out."""

import warnings

import numpy as np
import pytest
from PIL import Image

from oneloop.sample.data.handwriting.scanned import Sample, ScannedWords, Split, sheared, written
from tests.sample.data.handwriting.words_on_disk import write_word

ALL = Split("all", "all", 0.0, 0.0)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scanned")
    made = [
        Sample(folder / f"{writer}{text}.png", text, writer)
        for writer, texts in (("ann", ("ab", "cde", "fg")), ("bo", ("ab", "cd")), ("cy", ("ab", "longer")))
        for text in texts
    ]
    for place, each in enumerate(made):
        write_word(each.path, each.text, lean=3 * place)
    return made


def quiet(samples, split=ALL, longest=9):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ScannedWords(samples, split, longest, "scans")


def test_references_are_other_words_of_the_same_writer(samples):
    data = quiet(samples)
    assert len(data) == 7
    by = {each.path: written(each.path, 16) for each in samples}
    for key, each in enumerate(samples):
        row = data.row(key, 0, 16, 120)
        assert data.place(key) == str(each.path)
        assert (row["prompt"], row["writer_name"]) == (each.text, each.writer)
        assert row["writer"] == ["ann", "bo", "cy"].index(each.writer)
        np.testing.assert_array_equal(row["image"][0, :, : row["width"]], by[each.path])
        others = [by[other.path] for other in samples if other.writer == each.writer and other is not each]
        assert any(np.array_equal(row["reference"][0], other) for other in others)
        views = others if len(others) > 1 else [sheared(others[0])]
        assert any(np.array_equal(row["positive"][0], other) for other in views)
        assert not np.array_equal(row["positive"], row["reference"])
    for key in (-1, 7):
        with pytest.raises(IndexError, match=f"row {key} of scans: there are 7 words"):
            data.row(key, 0, 16, None)


def test_what_is_left_out_is_counted_in_one_warning(samples):
    said = r"scans: left out: 2 files; 1 words of more than 5 characters; 1 words of 1 writers with no other"
    with pytest.warns(UserWarning, match=said):
        data = ScannedWords(samples, ALL, 5, "scans", ["2 files", ""])
    assert {each.writer for each in (samples[place] for place in data.targets)} == {"ann", "bo"}
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match="scans: no word is left for writers: all"),
    ):
        ScannedWords(samples, ALL, 1, "scans")


def test_a_picture_is_scaled_to_the_height_and_dark_paper_is_refused(tmp_path):
    colour = np.full((20, 30, 3), 255, dtype=np.uint8)
    colour[5:15, 10:20] = 0
    Image.fromarray(colour).save(tmp_path / "word.png")
    found = written(tmp_path / "word.png", 10)
    assert found.shape == (10, 15) and found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1 and found[5, 7] < 0.02 < 0.98 < found[0, 0]
    assert written(tmp_path / "word.png", 20).sum() == 20 * 30 - 100
    write_word(tmp_path / "dark.png", "ab", ink=255, paper=0)
    with pytest.raises(ValueError, match=r"dark\.png shows ink that is lighter than its paper"):
        written(tmp_path / "dark.png", 10)


def test_a_sheared_word_leans_to_the_right_about_its_middle():
    word = np.ones((20, 30), dtype=np.float32)
    word[:, 14:16] = 0
    leaning = sheared(word)
    assert leaning.shape == word.shape and leaning.dtype == np.float32
    for row in range(20):
        centre = np.average(np.arange(30), weights=1 - leaning[row])
        assert centre == pytest.approx(14.5 + 0.07 * (10 - (row + 0.5)), abs=1e-3)
    assert 1 - leaning[0].mean() == pytest.approx(2 / 30, abs=1e-5)  # no ink is lost
