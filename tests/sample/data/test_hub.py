import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from oneloop.core.identity import fingerprint
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
    text = [{"prompt": row["prompt"], "answer": str(row["answer"])} for row in ROWS]
    assert [data[k] for k in range(4)] == (text if suffix == ".csv" else ROWS)
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
        ("a.jsonl", "", {}, "a.jsonl .* is empty"),
        ("a.csv", "prompt,answer\n", {}, "empty|no data"),
        (
            "a.jsonl",
            '{"prompt": "x"}',
            {"split": "test"},
            r"Unknown split \"test\". Should be one of \['train'\]",
        ),
        ("a.json", '[{"prompt": "x"}, {"prompt": ', {}, "cannot load .*a.json: not JSON: Expecting value"),
        ("a.jsonl", '{"prompt": ', {}, r"a.jsonl line 1: not JSON: Expecting value \(character 12\)"),
        (
            "a.json",
            '{"data": [{"prompt": "x"}]}',
            {},
            "its one row holds rows in 'data': save that list as a",
        ),
        ("b.jsonl", "x", {"path": "s3://b/x.jsonl"}, "nothing else is fetched from the network: download it"),
        ("b", "x", {"path": "https://huggingface.co/datasets/o/p/tree"}, "or a name of the hub; write o/p$"),
        ("a.txt", "x", {}, "cannot read '.txt' files; known: .json, .jsonl, .ndjson, .csv, .tsv, .json.gz"),
        ("a.jsonl", '{"prompt": "x"}', {"split": "train["}, "Unrecognized instruction format"),
        ("b.jsonl", "x", {"path": "nowhere.jsonl"}, "no such file: nowhere.jsonl"),
    ],
)
def test_faults_are_explained(tmp_path, name, content, fields, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        len(Hub(**{"path": str(tmp_path / name), **fields}))


def test_a_row_that_cannot_be_read_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"prompt": \n[1]\n{"answer": "b"}\n{"prompt": "c"}\n')
    data = Hub(path=str(path))
    assert (data[0]["prompt"], data[4]["prompt"]) == ("a", "c")
    for key, words in [
        (1, "rows.jsonl line 3: not JSON: Expecting value"),
        (2, r"rows.jsonl line 4: a row is one JSON object, got \[1\]"),
        (3, r"rows.jsonl line 5: there is no prompt \(column 'prompt' is empty\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            data[key]


def test_a_folder_is_read_as_its_files_are_written_split_by_split(tmp_path):
    write(
        tmp_path / "train.jsonl",
        [{"prompt": "a", "answer": "2024-01-01"}, {"prompt": "b", "answer": "2024-01-02"}],
    )
    write(tmp_path / "test.jsonl", [{"prompt": "c", "answer": "1e3"}])
    assert [row["answer"] for row in Hub(path=str(tmp_path))] == ["2024-01-01", "2024-01-02"]
    both = Hub(path=str(tmp_path), split="train[1:]+test")
    assert [row["answer"] for row in both] == ["2024-01-02", "1e3"]


def test_a_folder_of_tables_keeps_leading_zeros(tmp_path):
    (tmp_path / "train.tsv").write_text("prompt\tanswer\n1\t007\n")
    assert Hub(path=str(tmp_path))[0] == {"prompt": "1", "answer": "007"}


def test_several_files_are_one_table_in_order_of_their_names(tmp_path):
    for name, prompt in [("b", "2"), ("a", "1")]:
        write(tmp_path / f"{name}.jsonl", [{"prompt": prompt}])
    assert [row["prompt"] for row in Hub(path=str(tmp_path / "*.jsonl"))] == ["1", "2"]
    (tmp_path / "c.csv").write_text("prompt\n3\n")
    with pytest.raises(ValueError, match=r"finds files of several kinds \(.jsonl, .csv\); name one kind"):
        len(Hub(path=str(tmp_path / "*")))


def test_chat_and_system_are_options(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    assert Hub(path=path, chat=True)[0]["prompt"] == [{"role": "user", "content": "p0"}]
    assert [turn["role"] for turn in Hub(path=path, system="Be brief.")[0]["prompt"]] == ["system", "user"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_fingerprint_notices_another_order_and_fewer_rows(tmp_path, suffix):
    rows = [{"prompt": f"p{i}", "answer": i} for i in range(200)]
    prints = {
        fingerprint(Hub(path=write(tmp_path / f"{number}{suffix}", each)))
        for number, each in enumerate(
            [rows, rows[::-1], rows[1:], [*rows[:57], {**rows[57], "answer": -1}, *rows[58:]]]
        )
    }
    assert len(prints) == 4
    assert fingerprint(Hub(path=write(tmp_path / f"again{suffix}", rows))) in prints


def test_nothing_is_loaded_before_it_is_needed():
    assert Hub(path="nobody/nothing").split == "train"
