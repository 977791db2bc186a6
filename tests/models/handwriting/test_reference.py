import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from oneloop.models.handwriting.reference import reference

INK = 0.5


def word(text="hand", size=60, ink=0, paper=255, mode="L", canvas=(240, 110), at=(30, 15)):
    """A word on a page, by Pillow's own font."""
    image = Image.new(mode, canvas, paper)
    ImageDraw.Draw(image).text(at, text, fill=ink, font=ImageFont.load_default(size))
    return image


@pytest.fixture(scope="module")
def plain():
    """The reference that all pictures of one word should give."""
    return made(word())


def made(image, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return reference(image, height=48, **options)


def like(found, plain, least=0.9):
    """Whether the ink of two references is the same, whatever their grey: overlap over union."""
    assert found.dtype == np.float32 and found.shape[:2] == (1, 48)
    assert found.min() < 0.1 and found.max() == 1
    width = min(found.shape[2], plain.shape[2])
    assert abs(found.shape[2] - plain.shape[2]) <= 3
    a, b = found[0, :, :width] < INK, plain[0, :, :width] < INK
    return (a & b).sum() / (a | b).sum() > least


def test_a_word_is_cut_to_its_ink(plain):
    ink = plain[0] < INK
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert 1 <= rows[0] <= 5 and 43 <= rows[-1] <= 47  # a margin of 6 % above and below
    assert 1 <= columns[0] <= 5 and plain.shape[2] - 6 <= columns[-1]
    assert 0.1 < ink.mean() < 0.6


def test_photographed_under_uneven_light(plain):
    grey = np.asarray(word(), dtype=np.float64) / 255
    light = np.linspace(0.35, 0.95, grey.shape[1]) * np.linspace(0.8, 1, grey.shape[0])[:, None]
    noise = np.random.default_rng(0).normal(0, 0.015, grey.shape)
    photo = ((0.25 + 0.75 * grey) * light + noise).clip(0, 1)
    found = made(Image.fromarray((photo * 255).astype(np.uint8)))
    assert like(found, plain)
    assert (found[0, :2] > 0.9).all()  # the paper is white again


@pytest.mark.parametrize(
    ("ink", "paper"),
    [("blue", "white"), ("red", "white"), ((180, 160, 0), "white"), ("black", (250, 230, 120))],
)
def test_coloured_ink_and_paper(plain, ink, paper):
    assert like(made(word(ink=ink, paper=paper, mode="RGB")), plain)


def test_transparent_paper(plain):
    image = word(mode="RGBA", paper=(0, 0, 0, 0), ink=(20, 20, 20, 255))
    assert like(made(image), plain)


def test_white_on_black_is_refused_or_inverted(plain):
    image = word(ink=255, paper=0)
    with pytest.raises(ValueError, match="ink that is lighter than its paper"):
        made(image)
    assert like(made(image, invert=True), plain)


def test_sixteen_bits_and_palettes(plain):
    deep = Image.fromarray(np.asarray(word(), dtype=np.uint16) * 257)
    assert deep.mode == "I;16"
    assert np.array_equal(made(deep), plain)
    assert like(made(word(mode="RGB", paper="white", ink="black").convert("P")), plain)
    assert like(made(word().convert("1")), plain)


def test_turned_by_exif(plain, tmp_path):
    turned = word().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert like(made(tmp_path / "turned.png"), plain)


def test_specks_are_no_ink(plain):
    image = word()
    image.putpixel((3, 3), 0)
    image.putpixel((235, 100), 0)
    assert like(made(image), plain)


def test_small_pictures():
    with pytest.raises(ValueError, match="is 40 x 12 pixels; a word needs at least 16"):
        reference(word(size=10, canvas=(40, 12), at=(2, 0)))
    with pytest.raises(ValueError, match="the word is 9 pixels high; at least 16"):
        reference(word("o", size=12, canvas=(60, 60), at=(20, 20)))
    with pytest.warns(UserWarning, match="is scaled up to 64, so its strokes are blurred"):
        found = reference(word(size=30))
    assert found.shape[1] == 64


def test_narrow_words_have_a_token_of_style():
    assert made(word("l")).shape[2] >= 16


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_blank_pages(noise):
    page = 0.8 + np.random.default_rng(1).normal(0, noise, (90, 200))
    with pytest.raises(ValueError, match="the reference shows no ink"):
        made(Image.fromarray((page * 255).astype(np.uint8)))


def test_several_words_are_refused_or_cropped():
    image = word("by longhand", canvas=(480, 110))
    with pytest.raises(ValueError, match="about 2 words; cut it to one word, or ask for it to be cropped"):
        made(image)
    with pytest.warns(UserWarning, match="several words; the widest is used, pixels"):
        found = reference(image, 48, crop=True)
    alone = made(word("longhand", canvas=(480, 110)))
    assert like(found, alone)


def test_several_lines_are_refused_or_cropped(plain):
    image = word(canvas=(240, 240))
    ImageDraw.Draw(image).text((30, 130), "i", fill=0, font=ImageFont.load_default(60))
    with pytest.raises(ValueError, match="about 2 lines"):
        made(image)
    with pytest.warns(UserWarning, match="several words"):
        found = reference(image, 48, crop=True)
    assert like(found, plain)


@pytest.mark.parametrize("text", ["i", "ij", "minimum", "Äöü", "a-b"])
def test_dots_accents_and_gaps_between_letters_are_one_word(text):
    made(word(text, canvas=(400, 130), at=(30, 30)))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no such file: nowhere.png"):
        reference("nowhere.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(ValueError, match="broken.png cannot be read as a picture"):
        reference(tmp_path / "broken.png")
    word().save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    with pytest.raises(ValueError, match="cut.png"):
        reference(tmp_path / "cut.png")
