"""The page of an image tokenizer: what it shows, and that it asks for nothing."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from oneloop.cli.compress import CompressError
from oneloop.cli.tokens import rows, tokens
from oneloop.models.image_tokenizer.rate_distortion import rate_distortion
from oneloop.report.tokens_page import write_tokens_page
from tests.models.image_tokenizer.tiny import pictures, tiny


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "page.html"
    tokenizer, images = tiny(), pictures(3)
    measured = rate_distortion(tokenizer, images, codecs=("webp",), shrunk=(4,))
    return write_tokens_page(path, tokenizer, images, measured, "a <b>").read_text(), measured


def picture(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def test_it_shows_every_picture_at_every_length(page):
    text, measured = page
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["bytes"] == [1, 2, 2, 3, 4, 4, 5] and len(data["pictures"]) == 3
    assert data["mean"] == pytest.approx([point.quality for point in measured.tokens])
    tokenizer, images = tiny(), pictures(3)
    for row, shown in enumerate(data["pictures"]):
        assert len(shown["images"]) == len(shown["quality"]) == 7
        made = tokenizer.decode(tokenizer.encode(images[row : row + 1]), 2)[0, 0].detach()
        assert np.abs(picture(shown["images"][1]) - made.numpy() * 255).max() <= 0.51
    assert text.count("shrunk to 4") == 1 and "a &lt;b&gt;" in text


def test_it_asks_for_nothing(page):
    text, _ = page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "default-src 'none'; img-src data:;" in text


def test_the_command_writes_it(tmp_path, capsys):
    tiny().save_pretrained(tmp_path / "model")
    tokens(str(tmp_path / "model"), data="{digits: {split: test}}", size=5, out=tmp_path / "page.html")
    said = capsys.readouterr().out
    assert "7 tokens: 5 bytes" in said and (tmp_path / "page.html").exists()
    assert torch.stack(rows("digits", 2, (1, 8, 8))).shape == (2, 1, 8, 8)
    for images, data in ((None, ""), ([tmp_path / "a.png"], "digits")):
        with pytest.raises(CompressError, match="give pictures, or --data"):
            tokens(str(tmp_path / "model"), images, data=data)
    with pytest.raises(CompressError, match="row 0 has no 'image'"):
        rows("sum_chain", 2, (1, 8, 8))
