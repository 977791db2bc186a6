"""A font as a writer: words stand on its line whole, and characters it lacks are told."""

import numpy as np
import pytest

from oneloop.models.handwriting.glyphs import open_font
from oneloop.sample.data.handwriting.fonts import MEASURED, FontWriter, font_files
from tests.support.fonts import font_folder, pillow_font


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    return FontWriter(font_folder(tmp_path_factory.mktemp("fonts"), ("own",)) / "own.ttf", 32)


def inked_rows(word):
    rows = np.flatnonzero((word < 0.5).any(1))
    return int(rows[0]), int(rows[-1])


def test_its_letters_fill_the_line_and_stand_on_one_base(writer):
    word = writer.draw(MEASURED)
    assert word.shape == (32, writer.width(MEASURED)) and word.min() == 0 and word.max() == 1
    top, bottom = inked_rows(word)
    assert 1 <= top <= 4 and 27 <= bottom <= 30  # 6 % of 32 pixels are 1.9
    for letter in "Ahlx":
        assert abs(inked_rows(writer.draw(letter))[1] + 1 - writer.base) <= 1
    assert inked_rows(writer.draw("p"))[1] > writer.base


@pytest.mark.parametrize("word", ["hand", "jq", "(|)"])
def test_what_is_higher_than_the_line_is_written_smaller_and_whole(writer, word):
    large = FontWriter(writer.path, 32)
    large.size, large.font = 2 * writer.size, open_font(writer.path, 2 * writer.size)
    for each, smaller in ((writer, False), (large, True)):
        font, drawn = each._fitting(word), each.draw(word)
        assert drawn.shape == (32, each.width(word))
        assert (font.size < each.size) == smaller
        ink = np.array(font.getmask(word)).sum() / 255
        assert (1 - drawn).sum() == pytest.approx(ink, rel=1e-9)  # none of it is cut off


def test_characters_that_it_lacks(writer):
    assert writer.writes("hand") and writer.writes("Q?")
    assert not writer.writes("han漢") and not writer.writes("漢")
    assert not writer.writes("a b")  # a space has no ink
    assert writer.writes("")


def test_fonts_are_found_by_their_path_whatever_the_case_of_their_ending(tmp_path):
    font_folder(tmp_path / "b", ("two",))
    (tmp_path / "One.OTF").write_bytes(pillow_font())
    (tmp_path / "b" / "licence.txt").write_text("free")
    assert font_files(tmp_path) == {"One": tmp_path / "One.OTF", "b/two": tmp_path / "b" / "two.ttf"}
    for folder, why in ((tmp_path / "empty", "has no fonts"), (tmp_path / "none", "is no folder")):
        if why == "has no fonts":
            folder.mkdir()
        with pytest.raises(ValueError, match=f"{folder.name} {why} .*`oneloop fetch handwriting-fonts`"):
            font_files(folder)
    broken = tmp_path / "broken.ttf"
    broken.write_text("no font")
    with pytest.raises(ValueError, match="broken.ttf cannot be read as a font"):
        FontWriter(broken, 32)
