"""`oneloop compress` and `oneloop decompress`: what they write, and what they refuse."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from oneloop.cli.compress import CompressError, compress
from oneloop.cli.decompress import decompress
from oneloop.core.destinations import Unwritable
from oneloop.models.image_tokenizer.token_file import HEADER, TokenFileError, read_tokens
from tests.models.image_tokenizer.tiny import pictures, tiny


@pytest.fixture
def folder(tmp_path):
    tokenizer = tiny()
    tokenizer.save_pretrained(tmp_path / "model")
    for number, image in enumerate(pictures(2)):
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(tmp_path / f"{number}.png")
    return tmp_path


def stored(folder, number):
    levels = np.asarray(Image.open(folder / f"{number}.png"))
    return torch.as_tensor(levels / 255, dtype=torch.float32)[None, None]


def test_there_and_back(folder, capsys):
    model = str(folder / "model")
    compress([folder / "0.png"], model, tokens=3)
    assert (folder / "0.1dp").stat().st_size == HEADER + 2
    assert f"{HEADER + 2} bytes, of which 2 are tokens and {HEADER} header" in re.sub(
        r"\s+", " ", capsys.readouterr().out
    )
    decompress(folder / "0.1dp", model, out=folder / "back.png")
    tokenizer = tiny()
    expected = tokenizer.decode(tokenizer.encode(stored(folder, 0)), 3)[0, 0] * 255
    assert np.abs(np.asarray(Image.open(folder / "back.png")) - expected.detach().numpy()).max() <= 0.5
    decompress(folder / "0.1dp", model, tokens=1, out=folder / "one.png")
    one = tokenizer.decode(tokenizer.encode(stored(folder, 0)), 1)[0, 0] * 255
    assert np.abs(np.asarray(Image.open(folder / "one.png")) - one.detach().numpy()).max() <= 0.5


def test_several_images_each_with_what_its_quality_takes(folder, capsys):
    model, out = str(folder / "model"), folder / "both.1dp"
    compress([folder / "0.png", folder / "1.png"], model, quality=1.0, out=out)
    assert [len(row) for row in read_tokens(out).tokens] == [1, 1]
    capsys.readouterr()
    compress([folder / "0.png", folder / "1.png"], model, quality=99, out=out)
    assert capsys.readouterr().out.count("99 dB cannot be reached") == 2
    assert [len(row) for row in read_tokens(out).tokens] == [7, 7]
    decompress(out, model)
    assert (folder / "both-decoded-0.png").exists() and (folder / "both-decoded-1.png").exists()


def test_the_picture_that_was_compressed_stays_as_it_was(folder):
    model, before = str(folder / "model"), (folder / "0.png").read_bytes()
    compress([folder / "0.png"], model)
    decompress(folder / "0.1dp", model, tokens=1)
    assert (folder / "0.png").read_bytes() == before and (folder / "0-decoded.png").exists()
    with pytest.raises(Unwritable, match="0.png: it is a file that is read"):
        compress([folder / "0.png"], model, out=folder / "0.png")
    with pytest.raises(Unwritable, match="0.1dp: it is a file that is read"):
        decompress(folder / "0.1dp", model, out=folder / "0.1dp")


def test_a_file_that_ends_early(folder, capsys):
    model = str(folder / "model")
    compress([folder / "0.png"], model)
    data = (folder / "0.1dp").read_bytes()
    (folder / "0.1dp").write_bytes(data[:-2])
    with pytest.raises(TokenFileError, match="ends early: 4 of its 7 tokens"):
        decompress(folder / "0.1dp", model)
    decompress(folder / "0.1dp", model, partial=True, out=folder / "part.png")
    said = capsys.readouterr().out
    assert "3 tokens are lost" in said and "4 of 7 tokens" in said


def test_what_is_refused(folder):
    model = str(folder / "model")
    with pytest.raises(CompressError, match="exclude each other"):
        compress([folder / "0.png"], model, tokens=1, quality=3)
    with pytest.raises(CompressError, match=re.escape("--tokens must lie in 1..7 for this tokenizer, got 8")):
        compress([folder / "0.png"], model, tokens=8)
    with pytest.raises(CompressError, match="cannot read the picture"):
        compress([folder / "nowhere.png"], model)
    (folder / "no.png").write_text("no picture")
    with pytest.raises(CompressError, match="cannot read the picture"):
        compress([folder / "no.png"], model)
    compress([folder / "0.png"], model)
    tiny(seed=1).save_pretrained(folder / "other")
    with pytest.raises(TokenFileError, match="made by another tokenizer"):
        decompress(folder / "0.1dp", str(folder / "other"))
