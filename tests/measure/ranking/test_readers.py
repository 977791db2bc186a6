"""readers/: one small file of each maker, found out and read; faults name the file."""

import gzip
import json
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oneloop.measure.ranking import RankingError
from oneloop.measure.ranking.readers import ReaderOptions, kind_of, read

LONG = "dataset,model,sample_id,metric,score\ncrux,a,1,binary,0\ncrux,b,1,binary,1\ngsm,a,1,binary,\n"


def scores_of(pool):
    """{(model, sample): score}."""
    found = {}
    for cell, (model, sample) in enumerate(zip(pool.model, pool.sample, strict=True)):
        found[pool.models[model], str(pool.samples[sample])] = float(pool.value[cell])
    return found


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_long_tables_of_every_format(tmp_path):
    paths = [write(tmp_path / "long.csv", LONG), write(tmp_path / "long.tsv", LONG.replace(",", "\t"))]
    with gzip.open(tmp_path / "zipped.csv.gz", "wt") as file:
        file.write(LONG)
    rows = [
        dict(zip(LONG.split("\n")[0].split(","), line.split(","), strict=True))
        for line in LONG.split("\n")[1:-1]
    ]
    rows = [{**row, "score": float(row["score"]) if row["score"] else None} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "long.parquet")
    paths += [
        tmp_path / "zipped.csv.gz",
        tmp_path / "long.parquet",
        write(tmp_path / "long.jsonl", lines(*rows)),
    ]
    paths.append(write(tmp_path / "rows.json", rows))
    for path in paths:
        assert kind_of(path) == "long", path
        pool = read(path)
        assert scores_of(pool) == {("a", "crux/1"): 0.0, ("b", "crux/1"): 1.0}, path
        assert pool.facts["metric"] == ["binary", "binary"]
    assert scores_of(read(paths, how=ReaderOptions(conflict="mean"))) == scores_of(read(paths[0]))


def test_columns_of_other_names_and_scores_turned_around(tmp_path):
    path = write(tmp_path / "t.csv", "who,what,loss\na,1,3\nb,1,2\n")
    with pytest.raises(RankingError, match=r"t.csv: no known format: the columns are loss, what, who"):
        read(path)
    columns = {"model": "who", "sample": "what", "score": "loss"}
    pool = read(path, "long", ReaderOptions(columns, lower_is_better=("t",)))
    assert scores_of(pool) == {("a", "1"): -3.0, ("b", "1"): -2.0}
    with pytest.raises(
        RankingError, match=r"no column for score: tried score, value; the table has who, what, loss"
    ):
        read(path, "long", ReaderOptions({"model": "who", "sample": "what"}))
    turned = read(write(tmp_path / "l.csv", LONG), how=ReaderOptions(lower_is_better=("crux",)))
    assert scores_of(turned)["b", "crux/1"] == -1


def test_wide_tables(tmp_path):
    path = write(tmp_path / "wide.csv", "model,q1,q2\nb,1,\na,0.5,nan\n")
    pool = read(path)
    assert kind_of(path) == "wide" and pool.sources == ("wide",)
    assert scores_of(pool) == {("a", "wide/q1"): 0.5, ("b", "wide/q1"): 1.0} and len(pool.samples) == 2
    assert scores_of(read(path, how=ReaderOptions(lower_is_better=("wide",))))["a", "wide/q1"] == -0.5
    with pytest.raises(RankingError, match="one row a model, got 2 rows of 1 models"):
        read(write(tmp_path / "twice.csv", "model,q1\na,1\na,0\n"))


def test_arena_battles(tmp_path):
    rows = [
        {"question_id": "x", "model_a": "a", "model_b": "b", "winner": "model_a"},
        {"question_id": "x", "model_a": "b", "model_b": "a", "winner": "tie (bothbad)"},
        {"question_id": "y", "model_a": "a", "model_b": "b", "winner": None},
    ]
    for path in (write(tmp_path / "b.json", rows), write(tmp_path / "b.jsonl", lines(*rows))):
        pool = read(path)
        assert kind_of(path) == "arena" and pool.samples.tolist() == ["x"]
        assert pool.preferences.verdict.tolist() == [1.0, 0.5] and pool.preferences.sample.tolist() == [0, 0]
    bare = read(write(tmp_path / "c.csv", "model_a,model_b,winner\na,b,tie\n"))
    assert bare.samples.tolist() == ["c 0"]


def test_alpaca_annotations(tmp_path):
    row = {"generator_1": "base", "generator_2": "new", "annotator": "judge", "dataset": "helpful"}
    rows = [
        {**row, "instruction": "Sing.", "preference": 1.9},
        {**row, "instruction": "Dance.", "preference": 0},
        {**row, "instruction": "Leap.", "preference": None},
    ]
    path = write(tmp_path / "annotations.json", rows)
    pool, name = read(path), "judge against base/Sing."
    assert kind_of(path) == "alpaca" and scores_of(pool) == {
        ("base", name): 0.5,
        ("new", name): pytest.approx(0.9),
    }
    assert pool.facts["text"] == ["Sing."] and pool.facts["data"] == ["helpful"]
    with pytest.raises(
        RankingError, match=r"annotations.json: row 0: a preference is 0 \(none\) or from 1 to 2, got 3"
    ):
        read(write(path, [{**rows[0], "preference": 3}]))
    with pytest.raises(RankingError, match="no row has a preference"):
        read(write(path, rows[1:]))


def harness(tmp_path, **more):
    strict = {"doc_id": 7, "doc": {"question": "2+2?"}, "filter": "strict", "metrics": ["exact_match"]}
    rows = [{**strict, "exact_match": 1.0, **more}, {**strict, "filter": "flexible", "exact_match": 0.0}]
    return write(tmp_path / "org__small" / "samples_gsm8k_2024-06-01T10-00-00.123.jsonl", lines(*rows))


def test_lm_eval_logs(tmp_path):
    path = harness(tmp_path)
    older = {"doc_id": 0, "doc": {}, "arguments": {"gen_args_0": {"arg_0": "Once"}}, "acc": 0.0}
    write(tmp_path / "other" / "samples_arc.jsonl", lines(older))
    pool = read(tmp_path)
    assert kind_of(path) == kind_of(tmp_path) == "lm_eval"
    assert scores_of(pool) == {("org/small", "gsm8k/7"): 1.0, ("other", "arc/0"): 0.0}
    assert dict(zip(pool.samples, pool.facts["text"], strict=True)) == {"gsm8k/7": "2+2?", "arc/0": "Once"}
    chosen = read(path, how=ReaderOptions(metric="exact_match,flexible", lower_is_better=("gsm8k",)))
    assert scores_of(chosen) == {("org/small", "gsm8k/7"): 0.0}
    with pytest.raises(
        RankingError,
        match=r"samples_gsm8k_.*jsonl: row 0: 'bleu' is None, not a number; there are exact_match",
    ):
        read(path, how=ReaderOptions(metric="bleu"))
    with pytest.raises(RankingError, match=r"'exact_match' is \[1, 2\], not a number"):
        read(harness(tmp_path / "lists", exact_match=[1, 2]))
    with pytest.raises(RankingError, match="the logs hold no samples"):
        read(path, how=ReaderOptions(metric="exact_match,none"))


def inspect_log(value):
    sample = {
        "id": 1,
        "epoch": 1,
        "input": [{"role": "user", "content": "Why?"}],
        "scores": {"match": {"value": value}},
    }
    return {
        "version": 2,
        "eval": {"task": "qa", "model": "org/m"},
        "samples": [sample, {"id": 2, "error": "x"}],
    }


@pytest.mark.parametrize(
    ("value", "score"),
    [("C", 1), ("I", 0), ("P", 0.5), ("N", 0), (True, 1), (0.25, 0.25), ("0.7", 0.7), ("yes", 1)],
)
def test_inspect_logs(tmp_path, value, score):
    path = write(tmp_path / "log.json", inspect_log(value))
    pool = read(path)
    assert kind_of(path) == "inspect" and scores_of(pool) == {("org/m", "qa/1"): score}
    assert pool.facts["text"] == ["Why?"]


def test_inspect_archives_epochs_and_scorers(tmp_path):
    log = inspect_log("C")
    with zipfile.ZipFile(tmp_path / "run.eval", "w") as archive:
        archive.writestr("header.json", json.dumps({"eval": log["eval"]}))
        for epoch, letter in ((1, "C"), (2, "I")):
            scores = {"match": {"value": letter}, "other": {"value": {"x": epoch, "y": 0}}}
            archive.writestr(
                f"samples/1_epoch_{epoch}.json", json.dumps({**log["samples"][0], "scores": scores})
            )
    assert kind_of(tmp_path) == "inspect" and scores_of(read(tmp_path)) == {("org/m", "qa/1"): 0.5}
    assert scores_of(read(tmp_path, how=ReaderOptions(metric="other/x"))) == {("org/m", "qa/1"): 1.5}
    with pytest.raises(RankingError, match=r"the score has the values x, y; say which \(scorer/value\)"):
        read(tmp_path, how=ReaderOptions(metric="other"))
    with pytest.raises(RankingError, match="no scorer is called 'mach'; there are match, other"):
        read(tmp_path, how=ReaderOptions(metric="mach"))
    with pytest.raises(RankingError, match="sample 1: the score is 'maybe', neither a number nor C, P, I, N"):
        read(write(tmp_path / "odd.json", inspect_log("maybe")))
    packed = zstandard(tmp_path / "new" / "log.eval", inspect_log("C"))
    assert scores_of(read(packed)) == scores_of(read(write(tmp_path / "one.json", inspect_log("C"))))
    with pytest.raises(RankingError, match="broken.eval is no archive that can be read: File is not a zip"):
        read(write(tmp_path / "broken.eval", "no"))


def zstandard(path, log):
    """An archive as inspect-ai writes it since 2026: members in Zstandard, ZIP method 93."""
    members = {"header.json": {"eval": log["eval"]}}
    members |= {f"samples/{i}.json": sample for i, sample in enumerate(log["samples"])}
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            plain = json.dumps(content).encode()
            archive.writestr(name, pa.Codec("zstd").compress(plain, asbytes=True))
            info = archive.infolist()[-1]
            info.compress_type, info.CRC, info.file_size = 93, zlib.crc32(plain), len(plain)
    return path


def run_directory(tmp_path, name, rows):
    path = tmp_path / name / "rollouts" / "step-1.parquet"
    path.parent.mkdir(parents=True)
    filled = [{"step": 1, "group": 0, "id": number, **row} for number, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(filled), path)
    return tmp_path / name


def test_our_own_runs(tmp_path):
    first = run_directory(
        tmp_path,
        "one",
        [
            {"prompt": "p", "correct": 1.0, "reward": 0.2},
            {"prompt": "p", "correct": 0.0, "reward": 0.2},
            {"prompt": "q", "correct": np.nan, "reward": 0.7},
            {"prompt": "r", "correct": None, "reward": np.nan},
        ],
    )
    second = run_directory(tmp_path, "two", [{"prompt": "p", "reward": 1.0}])
    pool = read([first, second])
    assert kind_of(first) == "rollouts" and pool.models == ("one", "two")
    by_text = {text: pool.matrix()[:, j].tolist() for j, text in enumerate(pool.facts["text"])}
    assert by_text == {"p": [0.5, 1.0], "q": [pytest.approx(0.7), pytest.approx(np.nan, nan_ok=True)]}
    assert kind_of(first / "rollouts" / "step-1.parquet") == "rollouts"
    alone = read(first / "rollouts" / "step-1.parquet", how=ReaderOptions(metric="reward"))
    assert alone.models == ("one",) and sorted(alone.value) == pytest.approx([0.2, 0.7])
    with pytest.raises(RankingError, match="step-1.parquet: no column 'speed'"):
        read(first, how=ReaderOptions(metric="speed"))
    silent = run_directory(tmp_path, "three", [{"prompt": "p", "reward": np.nan}])
    with pytest.raises(RankingError, match="three: no rollout has a verdict"):
        read(silent)


def test_files_beside_those_of_a_run_are_not_its_rollouts(tmp_path):
    path = run_directory(tmp_path, "one", [{"prompt": "p", "reward": 0.25}]) / "rollouts"
    (path / "step-1.parquet").rename(path / "step-000001.parquet")
    (path / "step-x.parquet").write_text("somebody's notes")
    pq.write_table(pa.table({"prompt": ["p"], "reward": [9.0]}), path / "copy.parquet")
    pq.write_table(pa.table({"prompt": ["q"], "reward": [0.75]}), path / "held-grpo.parquet")
    pool = read(path.parent)
    found = dict(zip(pool.facts["text"], pool.matrix()[0].tolist(), strict=True))
    assert found == {"p": 0.25, "q": 0.75}


def test_what_is_no_file_of_measurements(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(RankingError, match=r"notes.txt: no known format: notes.txt is no .csv"):
        read(write(tmp_path / "notes.txt", "hello"))
    with pytest.raises(RankingError, match="the folder holds no rollouts/, no samples_"):
        read(tmp_path)
    with pytest.raises(RankingError, match="format: must be one of long, wide, .*, got 'csv'"):
        read(tmp_path, "csv")
    with pytest.raises(RankingError, match="bad.json: must hold a list of objects"):
        read(write(tmp_path / "bad.json", [1, 2]))
    with pytest.raises(RankingError, match="cut.parquet: cannot be read"):
        read(write(tmp_path / "cut.parquet", "PAR1"))
