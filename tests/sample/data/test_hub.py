import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from oneloop.sample.data.hub import Hub

ROWS = [{"prompt": f"p{i}", "answer": i} for i in range(4)]


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    data = Hub(path=write(tmp_path / f"rows{suffix}", ROWS))
    assert len(data) == 4
    assert [data[k] for k in range(4)] == ROWS
    with pytest.raises(IndexError, match="row 4 of .*: there are 4 rows"):
        data[4]


def test_split_selects_rows(tmp_path):
    data = Hub(path=write(tmp_path / "rows.jsonl", ROWS), split="train[2:]")
    assert [row["prompt"] for row in data] == ["p2", "p3"]


def test_verl_parquet(tmp_path):
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    rows = [
        {
            "data_source": "d",
            "prompt": prompt,
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": "72"},
            "extra_info": {"index": i},
        }
        for i in range(2)
    ]
    data = Hub(path=write(tmp_path / "train.parquet", rows))
    assert data[1] == {**rows[1], "answer": "72"}


def test_keys_and_folder(tmp_path):
    write(tmp_path / "train.jsonl", [{"q": "1+1", "a": "2"}])
    assert Hub(path=str(tmp_path), input_key="q", label_key="a")[0] == {
        "q": "1+1",
        "a": "2",
        "prompt": "1+1",
        "answer": "2",
    }


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.jsonl", '{"q": "x"}', {}, r"no column 'prompt' or 'messages' \(columns: q\)"),
        ("a.jsonl", "", {}, "a.jsonl is empty"),
        ("a.csv", "prompt,answer\n", {}, "empty|no data"),
        (
            "a.jsonl",
            '{"prompt": "x"}',
            {"split": "test"},
            r"Unknown split \"test\". Should be one of \['train'\]",
        ),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": ', {}, "cannot load .*JSON"),
        ("a.txt", "x", {}, "cannot read '.txt' files; known: .json, .jsonl, .csv, .parquet"),
        ("b.jsonl", "x", {"path": "nowhere.jsonl"}, "no such file: nowhere.jsonl"),
    ],
)
def test_faults_are_explained(tmp_path, name, content, fields, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        len(Hub(**{"path": str(tmp_path / name), **fields}))


def test_nothing_is_loaded_before_it_is_needed():
    assert Hub(path="nobody/nothing").split == "train"
