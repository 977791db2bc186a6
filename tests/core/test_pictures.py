import numpy as np
import pytest
import torch

from oneloop.core.pictures import picture

Image = pytest.importorskip("PIL.Image")
RAMP = np.linspace(0, 1, 256).reshape(16, 16)
# a value of 8 bits is within half a step of 1/255; what passed through another colour space within a few
STEP = 1 / 255


def saved(image, path, **options):
    image.save(path, **options)
    return Image.open(path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "name", "tolerance"),
    [
        ("L", "a.png", STEP / 2),
        ("I;16", "a.png", 2**-16),
        ("F", "a.tiff", 1e-6),
        ("RGB", "a.png", STEP / 2),
        ("P", "a.png", STEP),
        ("CMYK", "a.tiff", 2 * STEP),
        ("LA", "a.png", STEP / 2),
        ("RGBA", "a.png", STEP / 2),
        ("YCbCr", "a.tiff", 2 * STEP),
    ],
)
def test_a_grey_ramp_is_the_same_in_every_mode(mode, name, tolerance, channels, tmp_path):
    if mode == "I;16":
        made = Image.fromarray((RAMP * 65535).round().astype(np.uint16))
    elif mode == "F":
        made = Image.fromarray(RAMP.astype(np.float32))
    else:
        made = Image.fromarray((RAMP * 255).round().astype(np.uint8))
        made = made if mode == "P" else made.convert(mode)
        if mode == "P":
            made = made.convert("P")
    read = picture(saved(made, tmp_path / name), "row 3", (channels, 16, 16))
    assert read.shape == (channels, 16, 16) and read.dtype == np.float32
    np.testing.assert_allclose(read, np.broadcast_to(RAMP, read.shape), atol=tolerance)


def test_what_is_transparent_is_white(tmp_path):
    logo = np.zeros((4, 4, 4), np.uint8)
    logo[1:3, 1:3] = [255, 0, 0, 255]
    read = picture(saved(Image.fromarray(logo), tmp_path / "logo.png"), "row 0")
    assert read[:, 0, 0].tolist() == [1, 1, 1] and read[:, 1, 1].tolist() == [1, 0, 0]
    half = picture(Image.fromarray(np.array([[[0, 128]]], np.uint8), "LA"), "row 0")
    np.testing.assert_allclose(half, np.full((1, 1, 1), 127 / 255), atol=STEP)
    palette = Image.new("P", (1, 1))
    palette.putpalette([9, 9, 9])
    palette.info["transparency"] = 0
    assert picture(palette, "row 0").ravel().tolist() == [1, 1, 1]


def test_a_turned_photograph_stands_upright(tmp_path):
    half = np.zeros((16, 32, 3), np.uint8)
    half[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(Image.fromarray(half), tmp_path / "a.png", exif=exif.tobytes())
    read = picture(turned, "row 0")
    assert read.shape == (3, 32, 16) and read[:, 0].min() == 1 and read[:, -1].max() == 0


def test_the_middle_is_cut_out_and_scaled():
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 255
    assert picture(Image.fromarray(wide), "row 0", (3, 4, 4)).min() > 0.9
    deep = Image.fromarray(wide.astype(np.uint16) * 257)
    assert picture(deep, "row 0", (1, 4, 4)).shape == (1, 4, 4)
    assert picture(deep, "row 0", (1, 4, 12)).min() >= 0


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (np.full((2, 3), 255, np.uint8), (1, 2, 3)),
        (np.full((2, 4, 3), 65535, np.uint16), (3, 2, 4)),
        (np.ones((2, 2), dtype=bool), (1, 2, 2)),
        (np.ones((2, 3)), (1, 2, 3)),
        (np.ones((3, 2, 2), np.float32), (3, 2, 2)),
        (torch.ones(3, 2, 2), (3, 2, 2)),
        (np.full((1, 2, 2), 1 + 1e-6), (1, 2, 2)),
    ],
)
def test_arrays(array, shape):
    read = picture(array, "row 0", shape)
    assert read.shape == shape and read.dtype == np.float32 and read.min() == read.max() == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (-np.ones((3, 8, 8)), r"row 3: a picture of numbers must lie in \[0, 1\], got -1 to -1"),
        (
            np.full((3, 8, 8), 255.0),
            r"must lie in \[0, 1\], got 255 to 255 \(whole numbers 0 .. 255 are uint8",
        ),
        (np.full((3, 8, 8), np.nan), "row 3: a picture has no or not only finite values"),
        (np.ones((8, 8, 3)), r"row 3: an array of shape \(8, 8, 3\) is taken as \[C, H, W\]"),
        (np.ones((3, 4, 8)), r"the network takes \(3, 8, 8\) \(channels, height, width\)"),
        (np.zeros((3, 8, 8), np.uint8), r"an array of shape \(3, 8, 8\) is taken as \[H, W, C\]"),
        (np.zeros(3), "row 3: no picture but"),
        ("a.png", "row 3: no picture but 'a.png'"),
    ],
)
def test_what_is_no_such_picture_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        picture(image, "row 3", (3, 8, 8))


def test_a_file_that_ends_too_early_is_named(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="row 3: the picture cannot be read: "):
        picture(Image.open(path), "row 3")


def test_whole_numbers_beyond_16_bits_are_refused():
    with pytest.raises(ValueError, match=r"row 3 \(mode I\): a picture of numbers must lie in \[0, 1\]"):
        picture(Image.fromarray(np.full((2, 2), 70000, np.int32)), "row 3")
