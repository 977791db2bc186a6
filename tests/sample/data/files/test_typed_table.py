import datetime
import decimal
import uuid

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from oneloop.sample.data.files.located import load
from oneloop.sample.data.files.typed_table import told


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_dates_and_decimals_become_the_text_that_says_them():
    day = datetime.date(2024, 1, 1)
    assert told({"a": [day, datetime.datetime(2024, 1, 1, 12)]}) == {
        "a": ["2024-01-01", "2024-01-01T12:00:00"]
    }
    assert told(decimal.Decimal("2.50")) == "2.50" and told(uuid.UUID(int=1)).endswith("0001")
    assert told(np.int64(3)) == 3 and told(b"x") == b"x" and told(2.5) == 2.5


def test_parquet_keeps_what_it_says(tmp_path):
    columns = {
        "prompt": ["a", "b"],
        "text": ["2024-01-01", "007"],
        "big": pyarrow.array([2**62 + 1, -5], pyarrow.int64()),
        "day": pyarrow.array([datetime.date(2024, 1, 1)] * 2),
        "price": pyarrow.array([decimal.Decimal("2.50")] * 2),
        "narrow": pyarrow.array([0.1, None], pyarrow.float32()),
        "tags": [["x", "y"], []],
        "none": [None, "c"],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    table = load(str(tmp_path / "rows.parquet"), "train")
    assert table.light and table[0] == {
        "prompt": "a",
        "text": "2024-01-01",
        "big": 2**62 + 1,
        "day": "2024-01-01",
        "price": "2.50",
        "narrow": 0.1,
        "tags": ["x", "y"],
        "none": None,
    }


def test_classes_are_told_by_name(tmp_path):
    import datasets

    kinds = datasets.ClassLabel(names=["cat", "dog"])
    features = {
        "prompt": datasets.Value("string"),
        "label": kinds,
        "several": datasets.List(kinds),
        "box": {"of": kinds, "size": datasets.Value("int64")},
    }
    columns = {
        "prompt": ["a", "b", "c"],
        "label": [1, -1, None],
        "several": [[0, 1], [], None],
        "box": [{"of": 0, "size": 1}] * 3,
    }
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    made.save_to_disk(tmp_path / "saved")
    made.to_parquet(tmp_path / "rows.parquet")
    for path in (tmp_path / "saved", tmp_path / "rows.parquet"):
        rows = list(map(load(str(path), "train").__getitem__, range(3)))
        assert [row["label"] for row in rows] == ["dog", None, None]
        assert [row["several"] for row in rows] == [["cat", "dog"], [], None]
        assert rows[0]["box"] == {"of": "cat", "size": 1}


def test_arrow_files_are_read(tmp_path):
    with pyarrow.OSFile(str(tmp_path / "rows.arrow"), "wb") as sink:
        rows = pyarrow.table({"prompt": ["a"], "answer": ["007"]})
        with pyarrow.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
    assert load(str(tmp_path / "rows.arrow"), "train")[0] == {"prompt": "a", "answer": "007"}


def test_a_broken_parquet_file_is_named(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(ValueError, match="cannot load .*rows.parquet"):
        load(str(tmp_path / "rows.parquet"), "train")


def test_a_picture_that_does_not_open_is_named_by_its_row(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(b"no picture")
    (pictures / "metadata.jsonl").write_text('{"file_name": "a.png", "prompt": "a"}\n')
    table = load(str(pictures), "train")
    assert not table.light
    with pytest.raises(ValueError, match="pictures row 0 cannot be read: UnidentifiedImageError"):
        table[0]
