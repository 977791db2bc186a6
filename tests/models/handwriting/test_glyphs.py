from pathlib import Path

import numpy as np
import pytest
import torch

from oneloop.models.handwriting import glyphs
from oneloop.models.handwriting.glyphs import GlyphContent, UnknownCharacter
from tests.support.fonts import font_folder

try:
    UNIFONT = glyphs.unifont()
except ValueError as error:
    UNIFONT, WHY = None, str(error)
else:
    WHY = ""
needs_unifont = pytest.mark.skipif(UNIFONT is None, reason=WHY)


@needs_unifont
def test_unifont_is_drawn_to_the_pixel():
    drawn, mask = GlyphContent().encode(["i l"])
    assert drawn.shape == (1, 3, 16, 16) and mask.all()
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert (drawn[0, 1] == 1).all()  # a space is paper
    ink = (drawn[0, 2] == 0).nonzero()  # an l: a stroke of ten pixels with feet
    assert ink[:, 1].bincount().max() == 11 and ink[:, 1].min() >= 4 and ink[:, 1].max() < 12


@needs_unifont
def test_texts_of_several_lengths():
    content = GlyphContent()
    drawn, mask = content.encode(["a", "bcd"])
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert (drawn[0, 1:] == 1).all()
    assert torch.equal(drawn[:1, :1], content.encode(["a"])[0])


@needs_unifont
def test_no_letter_is_taken_for_another():
    """Nothing is stripped of its accent, and other scripts have pictures of their own."""
    drawn, _ = GlyphContent().encode(["eéèEøßжあ漢ع"])
    flat = drawn[0].flatten(1)
    assert len({tuple(each.tolist()) for each in flat}) == 10


@needs_unifont
def test_every_character_that_is_lacking_is_named_with_its_places():
    content = GlyphContent(alphabet="abc ")
    with pytest.raises(UnknownCharacter) as caught:
        content.encode(["abç", "dé d"])
    said = str(caught.value)
    assert "lacks 3 of the characters" in said
    assert "ç U+00E7 LATIN SMALL LETTER C WITH CEDILLA at 3 of text 0" in said
    assert "d U+0064 LATIN SMALL LETTER D at 1 of text 1, 4 of text 1" in said
    assert "é U+00E9 LATIN SMALL LETTER E WITH ACUTE at 2 of text 1" in said


@needs_unifont
@pytest.mark.parametrize("text", ["a\n", "\x07", "\ufffe", "\u0378", "\U00013000"])
def test_what_is_no_character_of_the_font_is_refused(text):
    with pytest.raises(UnknownCharacter, match="U\\+"):
        GlyphContent().encode([text])


def test_a_font_of_ones_own_and_its_gaps(tmp_path):
    content = GlyphContent(font_folder(tmp_path, ("own",)) / "own.ttf", size=24)
    drawn, _ = content.encode(["Wi "])
    assert drawn.shape == (1, 3, 24, 24) and drawn.min() < 0.5
    assert (drawn[0, 0] < 0.5).any(0).sum() > (drawn[0, 1] < 0.5).any(0).sum()  # a W is wider than an i
    with pytest.raises(UnknownCharacter) as caught:
        content.encode(["漢a e\u0301"])
    assert "漢 U+6F22" in str(caught.value) and "NFC" in str(caught.value)


@pytest.mark.parametrize(("texts", "said"), [([], "no texts"), (["a", ""], "text 1 is empty")])
def test_nothing_to_write(tmp_path, texts, said):
    with pytest.raises(ValueError, match=said):
        GlyphContent(font_folder(tmp_path, ("own",)) / "own.ttf").encode(texts)


def test_fonts_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no such font file: nowhere.ttf"):
        GlyphContent("nowhere.ttf")
    broken = tmp_path / "broken.otf"
    broken.write_bytes(b"OTTO nothing more")
    with pytest.raises(ValueError, match="broken.otf cannot be read as a font"):
        GlyphContent(broken)
    monkeypatch.setattr(glyphs, "UNIFONT", (str(tmp_path / "unifont.otf"),))
    with pytest.raises(ValueError, match=r"unifont.otf\): install .* fonts-unifont"):
        GlyphContent()
    assert isinstance(glyphs.UNIFONT[0], str) and not Path(glyphs.UNIFONT[0]).exists()
