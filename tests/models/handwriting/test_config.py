"""Sizes of a handwriting model: what follows from them, and a file that says them again."""

import json

import pytest

from oneloop.models.handwriting.config import HandwritingConfig, read_config
from tests.models.handwriting.tiny import config


@pytest.mark.parametrize(
    ("options", "folds", "shrink", "channels", "width"),
    [
        ({}, 4, 2, 4, 16),
        ({"patch": 1}, 2, 1, 1, 16),
        ({"patch": 4, "channels": (8,), "letters": 5}, 4, 4, 16, 40),
        ({"autoencoder": "somewhere", "height": 32, "letter_width": 16}, 16, 8, 4, 32),
    ],
)
def test_what_follows_from_the_options(options, folds, shrink, channels, width):
    made = config(**options)
    assert (made.folds, made.shrink, made.latent_channels, made.width) == (folds, shrink, channels, width)


def test_written_and_read_it_is_the_same(tmp_path):
    made = config(alphabet='aé漢"', edges="signed", gated=False, predicts="data", attention="first")
    made.write(tmp_path)
    assert read_config(tmp_path) == made
    assert "aé漢" in (tmp_path / "config.json").read_text(encoding="utf-8")  # as a person would write it
    (tmp_path / "config.json").write_text('{"model_type": "one_dm"}')
    assert read_config(tmp_path) == HandwritingConfig()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "config.json cannot be read: "),
        (b"\xff\xfe", "config.json cannot be read: "),
        ("[1]", r"config.json is not of a handwriting model \(model_type: one_dm\)"),
        ("{}", "is not of a handwriting model"),
        (
            json.dumps({"model_type": "one_dm", "b": 1, "a": 2}),
            "options that a handwriting model does not: a, b",
        ),
        (json.dumps({"model_type": "one_dm", "channels": [8, 12]}), r"config.json: channels must .* \[12\]"),
        (json.dumps({"model_type": "one_dm", "height": "tall"}), "config.json: "),
    ],
)
def test_files_that_say_something_else(tmp_path, content, said):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said):
        read_config(tmp_path)
