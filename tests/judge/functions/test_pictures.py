"""Pictures on their way to another process: as they were, and each sent once."""

import numpy as np
import pytest
from PIL import Image

from oneloop.judge.functions.pictures import PictureFiles, restored
from oneloop.judge.isolation.messages import pack, unpack


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I;16", "YCbCr", "HSV"])
def test_a_picture_comes_back_as_it_was(mode):
    ramp = np.arange(48).reshape(4, 12)
    made = (
        Image.fromarray(ramp.astype(np.uint16))
        if mode == "I;16"
        else Image.fromarray(ramp.astype(np.uint8)).convert("RGB").convert(mode)
        if mode != "F"
        else Image.fromarray(ramp.astype(np.float32))
    )
    pictures = PictureFiles()
    packed = unpack(pack(pictures.packed([made])))
    (back,) = restored(packed, unpack(pack(pictures.files)))
    wanted = made.convert("RGB") if mode == "HSV" else made
    assert back.size == (12, 4) and back.mode == wanted.mode
    assert np.array_equal(np.asarray(back), np.asarray(wanted))


def test_a_picture_of_several_rows_is_one_file_and_the_rest_stays():
    picture = Image.new("RGB", (2, 2), "red")
    rows = [{"image": picture, "n": n, "prompt": [{"content": [{"image": picture}, "text"]}]} for n in (1, 2)]
    pictures = PictureFiles()
    back = restored(pictures.packed(rows), pictures.files)
    assert len(pictures.files) == 1
    assert [row["n"] for row in back] == [1, 2] and back[0]["prompt"][0]["content"][1] == "text"
    assert back[1]["prompt"][0]["content"][0]["image"].getpixel((0, 0)) == (255, 0, 0)
    plain = {"a": [1, ("b", None)], "c": np.ones(2)}
    assert restored(PictureFiles().packed(plain), [])["a"] == [1, ("b", None)]
