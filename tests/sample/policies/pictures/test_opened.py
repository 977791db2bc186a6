"""Pictures of a data row are read as they come, or the sentence says why not."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from oneloop.sample.policies.pictures.opened import FRAMES, opened

PIXELS = (np.arange(4 * 6 * 3) * 3).reshape(4, 6, 3).astype(np.uint8)


def content(kind: str = "PNG", image=None, **options) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "Größe 1.png"
    path.write_bytes(content())
    return path


def test_whatever_holds_the_file(png):
    url = "data:image/png;base64," + base64.b64encode(content()).decode()
    held = [png, str(png), f"file://{png}", png.as_uri(), content(), bytearray(content()), url]
    held += [{"bytes": content(), "path": "gone.png"}, {"bytes": None, "path": str(png)}, {"url": url}]
    assert "%20" in png.as_uri()
    for each in held:
        assert np.array_equal(np.asarray(opened(each, "picture 1")), PIXELS), each


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    return content(kind, exif=exif)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_turned_picture_stands_upright(kind):
    upright = np.rot90(np.asarray(opened(content(kind), "picture 1")), -1)
    assert np.array_equal(np.asarray(opened(turned(kind), "picture 1")), upright)


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "RGBA", "I;16"])
def test_every_mode_becomes_three_channels(mode):
    made = (
        Image.fromarray(np.full((4, 6), 2**16 - 1, np.uint16))
        if mode == "I;16"
        else Image.new("RGB", (6, 4), "white").convert(mode)
    )
    for image in (made, content("TIFF", made)):
        array = np.asarray(opened(image, "picture 1"))
        assert array.shape == (4, 6, 3) and array.min() == 255


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_of_several_frames_the_first_is_taken_and_counted(kind, tmp_path):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    path = tmp_path / "frames"
    path.write_bytes(content(kind, first, save_all=True, append_images=[second]))
    made = opened(path, "picture 1")
    assert made.getpixel((0, 0)) == (255, 0, 0) and made.info[FRAMES] == 2
    assert opened(content(kind, first), "picture 1").info[FRAMES] == 1


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (content()[:45], "the picture cannot be read from its bytes"),
        (b"", "the picture cannot be read from its bytes"),
        (b"<svg/>", "the picture cannot be read from its bytes"),
        ("gone.png", "there is no picture 'gone.png' .*working directory.*folder of the data file"),
        ("~/gone.png", "there is no picture '~/gone.png' .~ is the home .* write /.*gone.png"),
        ("x" * 5000, "xxx... .5000 characters. is no path; if it is a picture in base64, write data:image"),
        ("https://x.org/a.png", "'https://x.org/a.png' is not on this machine; download the picture first"),
        ("", "a picture is missing"),
        ({"bytes": None, "path": None}, "a picture is missing"),
        (3, "no picture but 3"),
    ],
)
def test_what_cannot_be_read_is_said(held, said):
    with pytest.raises(ValueError, match=f"picture 2: .*{said}|picture 2: {said}"):
        opened(held, "picture 2")


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"", "it is empty"),
        (b"<svg/>", "it is no picture that Pillow knows"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a pointer of Git LFS; `git lfs pull`"),
    ],
)
def test_a_file_that_is_no_picture_is_said_to_be_what_it_is(held, said, tmp_path):
    (tmp_path / "a.png").write_bytes(held)
    with pytest.raises(ValueError, match=f"the picture cannot be read from '.*a.png': {said}"):
        opened(tmp_path / "a.png", "picture 1")
