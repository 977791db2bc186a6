"""`oneloop rank`: from files to a table, CSV, JSON and a page; faults of a user in words."""

import csv
import json
import re
import sys

import numpy as np
import pytest

from oneloop.cli.main import main
from oneloop.cli.rank import others, table
from oneloop.measure.ranking import from_matrix, rank


@pytest.fixture
def oneloop(monkeypatch, capsys):
    """Calls `oneloop rank <words>`; gives (exit code, output, errors)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["oneloop", "rank", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def scores(tmp_path):
    draw = np.random.Generator(np.random.Philox(0))
    rows = ["model,sample_id,dataset,score,text"]
    for j in range(60):
        text = "long division" if j < 20 else "the capital of France"
        for name, chance in (("weak", 0.2), ("middle", 0.5), ("strong", 0.9)):
            if name == "middle" or draw.random() < 0.8:
                rows.append(
                    f"{name},{j},{'maths' if j < 20 else 'facts'},{int(draw.random() < chance)},{text}"
                )
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_table_and_all_files(oneloop, scores, tmp_path):
    outs = [tmp_path / f"r.{kind}" for kind in ("csv", "json", "html")]
    code, shown, _ = oneloop(scores, *(word for out in outs for word in ("--out", out)))
    assert code == 0, shown
    assert "3 models, 60 samples of 2 sources" in shown and "% missing" in shown
    lines = [line.split() for line in shown.splitlines() if re.match(r"[123] +[a-z]+ +-?\d", line)]
    assert [line[1] for line in lines] == ["strong", "middle", "weak"]
    rows = list(csv.DictReader(outs[0].open()))
    stored = json.loads(outs[1].read_text())
    assert (
        [row["model"] for row in rows]
        == [row["model"] for row in stored["models"]]
        == ["strong", "middle", "weak"]
    )
    assert float(rows[0]["score"]) == pytest.approx(stored["models"][0]["score"])
    assert stored["method"] == "bradley_terry" and stored["converged"] is True
    page = outs[2].read_text()
    assert "strong ranks first of 3 models" in page and "<h1>scores.csv</h1>" in page


def test_filters_queries_and_options_reach_the_ranking(oneloop, scores):
    _, shown, _ = oneloop(scores, "--where", "source=maths")
    assert "20 of 60 samples fit source=maths" in shown
    _, shown, _ = oneloop(scores, "--query", "division", "--top-k", 7, "--method", "plackett_luce")
    assert "7 of 60 samples retrieved for 'division'" in shown
    _, shown, _ = oneloop(scores, "--informative", 5, "--seed", 1, "--bootstrap", 10)
    assert "5 informative samples drawn" in shown
    first, second = (oneloop(scores, "--prior", prior)[1] for prior in ("0.01", "100"))
    assert first != second


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--where", "source=music"), "no sample fits source=music"),
        (("--query", "zebra"), "no sample of 60 is more similar to 'zebra' than 0"),
        (("--out", "r.pdf"), "--out: r.pdf must end in .csv, .json, .html"),
        (("--column", "scor=acc"), "--column: must be one of model, sample, score, .*got 'scor=acc'"),
        (("--method", "eol"), r"Invalid value for '--method': .*'eol' is not one of"),
        (("--conflict", "last"), r"Invalid value for '--conflict': .*'last' is not one of"),
    ],
)
def test_faults_are_said_in_words(oneloop, scores, words, said):
    code, shown, errors = oneloop(scores, *words)
    assert code == 2
    assert re.search(said, " ".join(errors.split())), errors


def test_columns_are_named_on_the_command_line(oneloop, tmp_path):
    (tmp_path / "t.csv").write_text("who,what,loss\na,1,3\nb,1,2\n")
    columns = ("--column", "model=who", "--column", "sample=what", "--column", "score=loss")
    code, shown, _ = oneloop(tmp_path / "t.csv", "--format", "long", *columns, "--lower-is-better", "t")
    assert code == 0 and re.search(r"^1 +b ", shown, re.MULTILINE), shown


def test_groups_are_ranked_apart_when_asked(oneloop, tmp_path):
    (tmp_path / "t.csv").write_text("model,sample_id,score\na,1,1\nb,1,0\nc,2,1\nd,2,0\n")
    code, _, errors = oneloop(tmp_path / "t.csv")
    assert code == 2 and "2 groups of models share no comparison" in errors
    code, shown, _ = oneloop(tmp_path / "t.csv", "--separate")
    assert code == 0 and "Each is ranked by itself" in shown


def test_baselines_that_cannot_be_had_are_left_out():
    pool = from_matrix(np.eye(3), list("abc"), list("xyz"))
    ranking = rank(pool)
    assert list(others(pool, ranking, {})) == ["mean", "macro_mean", "borda", "elo"]
    assert [column.header for column in table(ranking, others(pool, ranking, {})).columns][-1] == "elo"


def test_names_in_a_file_command_neither_a_spreadsheet_nor_the_terminal(oneloop, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("model,sample_id,score\n=1+1,1,1\n\x1b[2Jred,1,0\n")
    code, shown, errors = oneloop(path, "--out", tmp_path / "r.csv")
    assert code == 0, errors
    assert "\x1b" not in shown and "\\x1b[2Jred" in shown
    assert [row["model"] for row in csv.DictReader((tmp_path / "r.csv").open())][0] == "'=1+1"
