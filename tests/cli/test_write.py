"""`oneloop write` and `oneloop hands`: what they write, and what they refuse."""

import numpy as np
import pytest
from PIL import Image

from oneloop.cli.hands import hands
from oneloop.cli.write import WriteError, write
from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig
from oneloop.sample.data.handwriting.fonts import FontWriter
from tests.support.fonts import font_folder, pillow_font

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from oneloop.models.flow.one_dm import OneDm

    made = tmp_path_factory.mktemp("write")
    (made / "font.ttf").write_bytes(pillow_font())
    sizes = {"letter_width": 12, "letters": 3, "hidden_size": 16, "heads": 2, "channels": (8, 16)}
    letters = "abcdefghijklmnopqrstuvwxyz"
    OneDm(height=16, alphabet=letters, font=str(made / "font.ttf"), **sizes).build().save(made / "model")
    word = (FontWriter(made / "font.ttf", 64).draw("hand") * 255).astype(np.uint8)
    Image.fromarray(np.pad(word, 20, constant_values=255)).save(made / "word.png")
    Image.new("L", (90, 70), 255).save(made / "blank.png")
    return made


def test_a_text_becomes_a_picture(folder, capsys):
    model, out = str(folder / "model"), folder / "out.png"
    write("ab cat\nsold", folder / "word.png", model, out, steps=2)
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: 1 words, such as 'sold', are longer than the 3 characters" in said
    assert "3 words in 2 lines" in said
    with Image.open(out) as picture:
        assert picture.mode == "L"
        assert picture.height == 2 * 16 + 4 + 2 * 4
        first = np.asarray(picture)
    write("ab cat\nsold", folder / "word.png", model, out, steps=2)
    assert np.array_equal(first, np.asarray(Image.open(out)))
    write("ab cat sold", folder / "word.png", model, out, steps=2, wrap=7, transparent=True, seed=1)
    with Image.open(out) as picture:
        assert picture.mode == "RGBA"
        assert picture.height == 2 * 16 + 4 + 2 * 4


@pytest.mark.parametrize(
    ("text", "picture", "out", "message"),
    [
        ("ab", "word.png", "out.jpg", "--out must end in .png"),
        ("ab", "blank.png", "out.png", "shows no ink"),
        ("ab", "nowhere.png", "out.png", "no such file"),
        ("ab!c", "word.png", "out.png", "EXCLAMATION MARK at 3"),
        (" ", "word.png", "out.png", "there is no text to write"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(folder, text, picture, out, message):
    with pytest.raises((WriteError, ValueError), match=message):
        write(text, folder / picture, str(folder / "model"), folder / out, steps=2)


def test_a_page_of_hands(folder, tmp_path, capsys):
    fonts = font_folder(tmp_path / "fonts", ("one", "two", "three", "four"))
    CtcReader(ReaderConfig(height=16, channels=(4, 8), hidden_size=8)).save(tmp_path / "reader")
    out = tmp_path / "hands.html"
    settings = {"fonts": fonts, "who": "all", "count": 2, "words": 2, "steps": 2, "out": out}
    hands(str(folder / "model"), reader=tmp_path / "reader", **settings)
    page = out.read_text()
    assert page.count("<figure") == 2 * (2 + 2)
    assert "4 words in 2 hands" in page
    assert f"what {tmp_path / 'reader'} read" in page
    hands(str(folder / "model"), **settings)
    assert "Nothing read them." in out.read_text()
    assert "://" not in out.read_text()
