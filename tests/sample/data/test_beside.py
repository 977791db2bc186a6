"""Paths of pictures may begin at the folder of the data file, as data sets are shared."""

import json
from pathlib import Path

import pytest
from PIL import Image

from oneloop.sample.data.beside import folder_of
from oneloop.sample.data.hub import Hub


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder `data` with a.png, which is not the current one."""
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Image.new("RGB", (4, 4), "red").save(tmp_path / "data" / "a.png")
    return Path("../data")


def row(data: Path, **columns):
    file = data / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "p", **columns}) + "\n")
    return Hub(path=str(file))[0]


def test_pictures_beside_the_file_are_found_wherever_a_row_names_them(data):
    found = str(data / "a.png")
    assert row(data, image="a.png")["image"] == found
    assert row(data, images=["a.png", found])["images"] == [found, found]
    assert row(data, image={"bytes": None, "path": "a.png"})["image"] == {"bytes": None, "path": found}
    parts = [
        {"type": "image", "image": "a.png"},
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "text", "text": "a.png"},
    ]
    turn = row(data, prompt=[{"role": "user", "content": parts}])["prompt"][0]
    assert [part[part["type"]] for part in turn["content"]] == [found, {"url": found}, "a.png"]


def test_all_else_stays_as_it_is_written(data):
    Image.new("RGB", (4, 4), "blue").save("a.png")
    for value in ("a.png", "b.png", "https://x.org/a.png", "data:image/png;base64,AAAA", "", None, 3):
        assert row(data, image=value, answer="a.png", note="a.png") == {
            "prompt": "p",
            "image": value,
            "answer": "a.png",
            "note": "a.png",
        }


def test_the_folder_of_a_pattern_is_before_its_first_star(data):
    assert folder_of("x/y*/z.jsonl") == Path("x") and folder_of("*.jsonl") == Path()
    assert folder_of(str(data)) == data and folder_of(str(data / "rows.jsonl")) == data
