"""What a metadata file says beside a picture reaches prompts and judges as it is written."""

import json

import pytest
from PIL import Image

from oneloop.sample.data.hub import Hub

CELLS = {
    "a.png": {"caption": "007", "answer": "2.50", "day": "2024-01-01"},
    "sub/b.png": {"caption": "010", "answer": "1e3", "day": "2024-01-02"},
    "c.png": {"caption": "NA", "answer": "4", "day": "2024-01-03"},
}


def folder(path, kind):
    (path / "sub").mkdir(parents=True)
    for shade, name in enumerate(CELLS):
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(path / name)
    if kind == "csv":
        lines = [",".join([name, *cells.values()]) for name, cells in CELLS.items()]
        text = "\n".join(["file_name,caption,answer,day", *lines])
    else:
        text = "\n".join(json.dumps({"file_name": name, **cells}) for name, cells in CELLS.items())
    (path / f"metadata.{kind}").write_text(text)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_cells_beside_pictures_stay_as_they_are_written(tmp_path, kind):
    data = Hub(path=folder(tmp_path / "pics", kind), input_key="caption", label_key="answer")
    found = {row["image"].getpixel((0, 0))[0]: row for row in map(data.__getitem__, range(len(data)))}
    for shade, cells in enumerate(CELLS.values()):
        row = found[shade]
        assert (row["prompt"], row["answer"], row["day"]) == tuple(cells.values())
        assert "file_name" not in row


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_splits_have_metadata_of_their_own(tmp_path, kind):
    for split in ("train", "test"):
        folder(tmp_path / "pics" / split, kind)
    data = Hub(path=str(tmp_path / "pics"), split="test", input_key="caption")
    assert sorted(data[key]["prompt"] for key in range(len(data))) == ["007", "010", "NA"]


def test_one_of_all_the_numbers_that_look_alike(tmp_path):
    """A column of nothing but digits is where a guess would change every value."""
    path = tmp_path / "pics"
    path.mkdir()
    Image.new("RGB", (4, 4)).save(path / "a.png")
    (path / "metadata.csv").write_text("file_name,caption,answer\na.png,0012,007\n")
    row = Hub(path=str(path), input_key="caption")[0]
    assert (row["prompt"], row["answer"]) == ("0012", "007")
