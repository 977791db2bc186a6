"""readers/ and files that are broken, foreign or made to hurt: a sentence or a pool, in bounded memory."""

import gzip
import io
import json
import random
import tracemalloc
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oneloop.core.text import shown
from oneloop.measure.ranking import RankingError, SamplePool
from oneloop.measure.ranking.readers import archives, files, parquet, read

ROWS = [
    {"model": m, "sample_id": s, "score": v}
    for m, s, v in [("a", "1", 1.0), ("b", "1", 0.0), ("a", "2", 0.5)]
]
BATTLES = [
    {"model_a": "a", "model_b": "b", "winner": "model_a"},
    {"model_a": "b", "model_b": "c", "winner": "tie"},
]
ALPACA = [{"generator_1": "x", "generator_2": "y", "instruction": "Sing.", "preference": 1.5}]
HARNESS = [{"doc_id": 0, "doc": {"question": "2+2?"}, "filter": "none", "metrics": ["acc"], "acc": 1.0}]
SAMPLE = {"id": 1, "epoch": 1, "input": "Why?", "scores": {"match": {"value": "C"}}}
LOG = {"eval": {"model": "m/a", "task": "t"}, "samples": [SAMPLE]}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def archive():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", json.dumps({"eval": LOG["eval"]}))
        file.writestr("samples/1_epoch_1.json", json.dumps(SAMPLE))
    return made.getvalue()


def parquet_of(rows):
    made = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), made)
    return made.getvalue()


VALID = {
    "long.csv": b"model,sample_id,score\na,1,1\nb,1,0\na,2,.5\n",
    "wide.tsv": b"model\tq1\tq2\na\t1\t0\nb\t0\t\n",
    "long.csv.gz": gzip.compress(b"model,sample_id,score\na,1,1\nb,1,0\n", mtime=0),
    "long.json": json.dumps(ROWS).encode(),
    "long.jsonl": lines(ROWS),
    "arena.json": json.dumps(BATTLES).encode(),
    "annotations.json": json.dumps(ALPACA).encode(),
    "samples_t_2026-01-01T00-00-00.0.jsonl": lines(HARNESS),
    "log.json": json.dumps(LOG).encode(),
    "log.eval": archive(),
    "long.parquet": parquet_of(ROWS),
    "step.parquet": parquet_of([{"prompt": "p", "step": 1, "group": 0, "reward": 1.0, "correct": None}]),
}
PIECES = [
    b"",
    b"\x00",
    b"\xff",
    b"[" * 2000,
    b"{",
    b'"',
    b"9" * 5000,
    b"\\ud800",
    b"null",
    b"1e999",
    b"\n",
    b",",
    b"-1",
]


def attempt(path):
    """Reads it, or gives the sentence that says why not."""
    try:
        return read(path)
    except RankingError as error:
        assert shown(str(error)) == str(error) and path.name in str(error)
        return str(error)


def damaged(content, draw):
    """`content` with one to three pieces cut out, doubled or replaced."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.choice([0, 1, 2, 8, 40]))
        middle = draw.choice([*PIECES, content[start:end] * 2, bytes([draw.randrange(256)])])
        content = content[:start] + middle + content[end:]
    return content


@pytest.mark.parametrize("name", VALID)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_a_sentence_or_a_pool(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(VALID[name])
    assert isinstance(read(path), SamplePool)
    for seed in range(60):
        path.write_bytes(damaged(VALID[name], random.Random(f"{name} {seed}")))
        assert isinstance(attempt(path), SamplePool | str)


VALUES = [
    None,
    True,
    -1,
    1e300,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "x\x1b[2J",
    "\ud800",
    [],
    [1],
    {},
    {"a": {}},
]


@pytest.mark.parametrize("name", [name for name in VALID if name.endswith((".json", ".jsonl"))])
@pytest.mark.filterwarnings("ignore")
def test_fields_of_every_type_give_a_sentence_or_a_pool(name, tmp_path):
    path, text = tmp_path / name, VALID[name].decode()
    rows = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)

    def put(value):
        content = lines(rows) if name.endswith("l") else json.dumps(rows).encode()
        path.write_bytes(content)
        assert isinstance(attempt(path), SamplePool | str), value

    def visit(place):
        for key in list(place) if isinstance(place, dict) else range(len(place)):
            old = place[key]
            for value in VALUES:
                place[key] = value
                put(value)
            place[key] = old
            if isinstance(old, dict | list):
                visit(old)

    visit(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("deep.json", b"[" * 10**5, "the list is nested too deeply to be read"),
        ("deep.jsonl", b'{"a": ' * 10**5, "line 1 is nested too deeply"),
        (
            "latin.csv",
            b"model_a,model_b,winner\nmod\xe8le,b,tie\n",
            r"line 2 is not UTF-8 \(byte 0xe8 at column 4\)",
        ),
        ("head.csv", b"mod\xe8le,score\nb,1\n", r"line 1 is not UTF-8 \(byte 0xe8 at column 4\)"),
        ("twice.csv", b"model,sample_id,score,score\na,1,1,1\n", "two columns are called 'score'"),
        ("latin.json", b'[{"a": "\xe8"}]', r"line 1 is not UTF-8 \(byte 0xe8 at column 9\)"),
        ("wide.json", "[]".encode("utf-16"), "is UTF-16, not UTF-8 text"),
        ("packed.json", gzip.compress(b"[]", mtime=0), "is gzip, not UTF-8 text"),
        ("cut.jsonl", b'{"model": "a"}\n{"mod', "line 2 is no JSON, or cut off: Unterminated string"),
        ("cut.csv.gz", VALID["long.csv.gz"][:-12], "is damaged or cut off"),
        (
            "results_2026-01-01.json",
            b'{\n"results": {}\n}',
            "summary of lm-evaluation-harness, which holds no sampl",
        ),
        ("one.json", b'{\n"a": 1\n}', r"holds one object \(a\), not a list of rows"),
        ("semi.csv", b"model_a;model_b;winner\na;b;tie\n", "separated by ',', got ';' in the first line"),
        ("empty.jsonl", b"", "is empty"),
        (
            "headless.eval",
            archive().replace(b"header.json", b"hidden.json"),
            "no member '_journal/start.json'",
        ),
        ("no.json", b'{"eval": {"task": 3}, "samples": []}', "its header names no model and task"),
    ],
)
def test_what_is_wrong_is_said(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RankingError, match=message):
        read(path)


def test_separators_and_marks_inside_json_are_text(tmp_path):
    rows = [{**ROWS[0], "text": "two\u2028and\x85three"}, {**ROWS[1], "text": "\ud83d half"}]
    for name, head in (("u.jsonl", b""), ("marked.jsonl", b"\xef\xbb\xbf")):
        content = "".join(json.dumps(row, ensure_ascii=row is rows[1]) + "\n" for row in rows)
        (tmp_path / name).write_bytes(head + content.encode())
        assert read(tmp_path / name).models == ("a", "b")
    late = [ROWS[0], {**ROWS[2], "text": "only here"}]
    (tmp_path / "late.jsonl").write_bytes(lines(late))
    assert read(tmp_path / "late.jsonl").facts["text"] == [None, "only here"]


def peak_of(path, message):
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    with pytest.raises(RankingError, match=message):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak + max(0, pa.default_memory_pool().max_memory() - before)


def test_bombs_are_refused_in_bounded_memory(tmp_path, monkeypatch):
    for module in (files, archives, parquet):
        monkeypatch.setattr(module, "LARGEST", 4 << 20)
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb") as file:
        file.writelines(b"model,sample_id,score\n" + b"a,1,1\n" * 10000 for _ in range(1000))
    assert peak_of(path, "unpacks to more than 4 MiB") < 256 << 20
    path = tmp_path / "bomb.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", json.dumps({"eval": LOG["eval"]}))
        file.writestr("samples/1.json", b"[" + b"[]," * (8 << 20) + b"[]]")
    assert peak_of(path, "'samples/1.json' unpacks to more than 4 MiB") < 256 << 20
    path = tmp_path / "bomb.parquet"
    ones = pa.array(["a"]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * (8 << 20), pa.int32()), ones.dictionary)
    pq.write_table(pa.table({"model": column, "sample_id": column, "score": column}), path)
    assert path.stat().st_size < 100_000
    assert peak_of(path, "would take more than 4 MiB in memory") < 512 << 20
    path = tmp_path / "disjoint.json"
    path.write_text(json.dumps([{f"c{i}.{j}": 1 for j in range(100)} for i in range(1000)]))
    assert peak_of(path, "1000 rows of 100000 different columns are too many") < 256 << 20
