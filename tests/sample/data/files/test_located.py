"""Which reader a path needs: endings, folders, names with spaces and letters of any alphabet."""

import gzip
import json
import os
import re
import stat

import datasets
import pyarrow
import pytest
from pyarrow import feather, parquet

from oneloop.sample.data.files.located import ending_of, load

LINES = '{"prompt": "a", "answer": "1"}\n{"prompt": "\\u00fc", "answer": "2"}\n'
ROWS = [{"prompt": "a", "answer": "1"}, {"prompt": "ü", "answer": "2"}]
CELLS = "prompt,answer\na,1\nü,2\n"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "my data [x] ü 数?"
    made.mkdir()
    return made


def rows(path, split="train"):
    table = load(str(path), split)
    return [table[key] for key in range(len(table))]


def write(path):
    table = pyarrow.table({name: [row[name] for row in ROWS] for name in ("prompt", "answer")})
    ending = ending_of(str(path))
    if ending == ".parquet":
        parquet.write_table(table, path)
    elif ending in (".arrow", ".feather"):
        feather.write_feather(table, str(path))  # Feather 2 is an Arrow file, compressed
    else:
        kind = {".csv": CELLS, ".tsv": CELLS.replace(",", "\t")}.get(ending.removesuffix(".gz"), LINES)
        path.write_bytes(gzip.compress(kind.encode()) if ending.endswith(".gz") else kind.encode())


@pytest.mark.parametrize(
    "ending",
    [
        "jsonl",
        "ndjson",
        "csv",
        "tsv",
        "JSONL",
        "csv.gz",
        "CSV.GZ",
        "tsv.gz",
        "jsonl.gz",
        "parquet",
        "arrow",
        "feather",
    ],
)
def test_every_kind_of_file_gives_the_same_rows_whatever_its_folder_is_called(folder, ending):
    path = folder / f"the rows.1.{ending}"
    write(path)
    assert rows(path) == ROWS


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "csv.gz"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_part_of_the_text(folder, ending):
    table = json.dumps(ROWS, indent=1) if ending == "json" else LINES
    kind = {"csv": CELLS, "tsv": CELLS.replace(",", "\t")}.get(ending.removesuffix(".gz"), table)
    content = b"\xef\xbb\xbf" + kind.replace("\n", "\r\n").encode()
    (folder / f"a.{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    assert rows(folder / f"a.{ending}") == ROWS


def test_a_folder_whose_name_is_a_pattern_is_told_to_name_its_files(folder):
    write(folder / "a.jsonl")
    with pytest.raises(
        ValueError, match=r"\[x\].*: a folder with .* in its name is not searched; name its files"
    ):
        rows(folder)


def test_a_damaged_file_is_one_sentence_and_leaves_no_other_on_the_screen(folder, capfd):
    write(folder / "a.parquet")
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot load .*a.parquet \[train\]: Parquet magic bytes not found"):
        rows(folder / "a.parquet")
    assert capfd.readouterr() == ("", "")


def test_a_relative_path_is_seen_from_the_working_directory(folder, monkeypatch):
    write(folder / "a b.csv")
    monkeypatch.chdir(folder)
    assert rows("a b.csv") == rows("./a b.csv") == rows(f"../{folder.name}/a b.csv") == ROWS
    monkeypatch.chdir(folder.parent)
    seen = f"no such file: a b.csv (seen from the working directory, {folder.parent})"
    with pytest.raises(ValueError, match=re.escape(seen)):
        rows("a b.csv")
    monkeypatch.setenv("HOME", str(folder))
    with pytest.raises(ValueError, match=r"no such file: ~/a b.csv; ~ is the home .* write /.*/a b.csv"):
        rows("~/a b.csv")


def test_a_folder_that_cannot_be_written_to_is_read(folder):
    write(folder / "a.jsonl")
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert rows(folder / "a.jsonl") == ROWS
        assert [one.name for one in folder.iterdir()] == ["a.jsonl"], "nothing is left beside the data"
    finally:
        folder.chmod(stat.S_IRWXU)


def test_a_star_reads_files_in_the_order_of_their_names(folder):
    for name in ("b", "a"):
        (folder / f"{name} 1.jsonl").write_text(f'{{"prompt": "{name}"}}\n')
    assert rows(folder / "* 1.jsonl") == [{"prompt": "a"}, {"prompt": "b"}]
    (folder / "c 1.csv").write_text("prompt\nc\n")
    with pytest.raises(ValueError, match=r"files of several kinds \(.jsonl, .csv\); name one kind"):
        rows(folder / "* 1.*")


@pytest.mark.parametrize("name", ["a.xlsx", "a.txt", "a.csv.zip", "a"])
def test_other_kinds_are_refused_with_those_that_are_known(folder, name):
    (folder / name).write_text("hello")
    with pytest.raises(
        ValueError,
        match=r"cannot read ('.*' files|a file whose name has no ending); known: .json, .*, .parquet, .arrow",
    ):
        rows(folder / name)


@pytest.mark.parametrize(
    ("split", "found"), [("train[:1]", ["a"]), ("train[1:]+train[:1]", ["ü", "a"]), ("train[-50%:]", ["ü"])]
)
def test_a_split_takes_pieces_of_a_file_in_its_order(folder, split, found):
    write(folder / "a.csv")
    assert [row["prompt"] for row in rows(folder / "a.csv", split)] == found


def test_pieces_tell_the_line_of_their_file(folder):
    write(folder / "a.csv")
    table = load(str(folder / "a.csv"), "train[1:]")
    assert table.place(0) == f"{folder / 'a.csv'} line 3" and table.columns == ["prompt", "answer"]
    with pytest.raises(ValueError, match=r"cannot load .*a.csv \[test\]"):
        load(str(folder / "a.csv"), "test")


def test_what_is_no_gzip_file_and_what_cannot_be_read_is_named(folder):
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(LINES.encode())[:-9])
    with pytest.raises(ValueError, match=r"/a.jsonl.gz is no whole gzip file"):
        rows(folder / "a.jsonl.gz")


def test_files_called_otherwise_than_what_they_are_are_named(folder):
    write(folder / "a.parquet")
    (folder / "b.jsonl").write_bytes((folder / "a.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"/b.jsonl is not text but Parquet; call it .parquet"):
        rows(folder / "b.jsonl")
    (folder / "c.csv").write_bytes(gzip.compress(CELLS.encode()))
    with pytest.raises(ValueError, match=r"/c.csv is not text but compressed by gzip; add .gz to its name"):
        rows(folder / "c.csv")


@pytest.mark.parametrize(
    ("names", "columns", "said"),
    [
        (["prompt", "a", "a"], [["x"], ["1"], ["2"]], "two columns are called 'a'"),
        (["prompt"], [pyarrow.array([], pyarrow.string())], "it has no rows"),
    ],
)
def test_what_is_wrong_with_a_parquet_file_is_said_without_the_words_of_its_reader(
    folder, names, columns, said
):
    parquet.write_table(
        pyarrow.table([pyarrow.array(each) for each in columns], names=names), folder / "a.parquet"
    )
    with pytest.raises(ValueError, match=rf"cannot load .*a.parquet \[train\]: {said}$"):
        rows(folder / "a.parquet")


def test_a_folder_that_datasets_has_saved_is_read(folder):
    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk(str(folder / "one"))
    assert rows(folder / "one") == ROWS and rows(folder / "one", "train[1:]") == ROWS[1:]
    datasets.DatasetDict(train=table, test=table.select([1])).save_to_disk(str(folder / "two"))
    assert rows(folder / "two") == ROWS and rows(folder / "two", "test") == ROWS[1:]
    with pytest.raises(ValueError, match=r"cannot load .*two \[dev\]: Unknown split"):
        rows(folder / "two", "dev")


def test_a_cache_that_cannot_be_written_is_told_of_hf_home(folder, monkeypatch):
    write(folder / "a.parquet")
    (folder / "taken").write_text("")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "taken" / "datasets")
    with pytest.raises(ValueError, match=r"keeps copies in .*/taken/datasets: HF_HOME names another folder"):
        rows(folder / "a.parquet")


@pytest.mark.parametrize(
    ("path", "ending"),
    [("a.b/c", ""), ("a.CSV.GZ", ".csv.gz"), ("v1.2.jsonl", ".jsonl"), ("x.gz", ".gz"), (".csv", "")],
)
def test_the_ending_that_counts(path, ending):
    assert ending_of(path) == ending
    assert ending_of(os.path.join("some dir.csv", path)) == ending


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_pointer_of_git_lfs_is_named(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ValueError, match=f"{name} is a pointer of Git LFS; `git lfs pull` fetches the file"):
        rows(folder / name)
