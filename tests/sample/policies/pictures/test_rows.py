"""Which pictures a row shows and where, in the columns of TRL and verl; what they are read from."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from oneloop.sample.policies.pictures.opened import opened
from oneloop.sample.policies.pictures.rows import marked_messages, marked_text

PLACE = {"type": "image"}


def user(content):
    return [{"role": "user", "content": content}]


def text(said):
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("content", "row", "parts", "pictures"),
    [
        ("what?", {"image": "a"}, [PLACE, text("what?")], ["a"]),
        ("what?", {"images": ["a", "b"]}, [PLACE, PLACE, text("what?")], ["a", "b"]),
        ("what?", {"image": ["a", "b"]}, [PLACE, PLACE, text("what?")], ["a", "b"]),
        ("is <image> a?", {"images": ["a"]}, [text("is "), PLACE, text(" a?")], ["a"]),
        ([PLACE, text("x")], {"images": ["a"]}, [PLACE, text("x")], ["a"]),
        ([{"type": "image", "image": "c", "text": None}, PLACE], {"image": "a"}, [PLACE, PLACE], ["c", "a"]),
        ([{"type": "image_url", "image_url": {"url": "d"}}, text("x")], {}, [PLACE, text("x")], ["d"]),
        ("a <image> of speech", {}, [text("a <image> of speech")], []),
    ],
)  # fmt: skip
def test_where_pictures_stand(content, row, parts, pictures):
    turns, shown = marked_messages(user(content), row)
    assert turns == user(parts) and shown == pictures


def test_without_a_place_the_first_user_message_shows_them():
    turns, _ = marked_messages([{"role": "system", "content": "s"}, *user("u"), *user("v")], {"image": "a"})
    assert [turn["content"] for turn in turns] == [[text("s")], [PLACE, text("u")], [text("v")]]


def test_text_is_cut_at_its_places():
    assert marked_text("a <image> b", "<|image_pad|>", {"image": 1}) == (["a ", " b"], [1])
    assert marked_text("a <|image_pad|> b", "<|image_pad|>", {"image": 1}) == (["a ", " b"], [1])
    assert marked_text("a", "<image>", {"images": [1, 2]}) == (["", "", "a"], [1, 2])


@pytest.mark.parametrize(
    ("content", "row", "said"),
    [
        ("x", {"image": 1, "images": [2]}, "both columns 'image' and 'images'"),
        ("x", {"images": "a.png"}, "'images' must be a list of pictures, got str"),
        ("<image>", {"images": [1, 2]}, "1 places for pictures, but the row has 2"),
        ([PLACE], {}, "1 places for pictures, but the row has 0"),
        ([{"type": "audio"}], {}, "text or an image"),
        ([3], {}, "a mapping with a type"),
    ],
)
def test_what_does_not_fit_is_refused(content, row, said):
    with pytest.raises(ValueError, match=said):
        marked_messages(user(content), row)


def test_a_picture_is_read_from_whatever_holds_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    file = io.BytesIO()
    image.save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    path = str(tmp_path / "a.png")
    floats = pixels.transpose(2, 0, 1).astype(np.float32) / 255
    held = [image, pixels, floats, path, "file://" + path, file.getvalue(), url]
    held += [{"bytes": file.getvalue(), "path": None}, {"bytes": None, "path": path}]
    for each in held:
        assert np.array_equal(np.asarray(opened(each, "here")), pixels)
    grey = opened(Image.new("L", (2, 2), 7), "here")
    assert grey.mode == "RGB" and np.asarray(grey).tolist() == [[[7] * 3] * 2] * 2


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ("https://example.org/a.png", "not on this machine; download the picture first"),
        ("missing.png", "there is no picture 'missing.png'"),
        (b"no picture", "cannot be read from its bytes"),
        ("data:image/png;base64,???", "a data: URL is no picture"),
        (None, "a picture is missing"),
        (np.zeros((2, 2, 4), np.uint8), "1 or 3 channels, got 4"),
    ],
)
def test_what_is_no_picture_is_named(held, said):
    with pytest.raises(ValueError, match=f"here: .*{said}"):
        opened(held, "here")
