"""oneloop fair: plays a table, resumes to the bit, writes its page, refuses what it cannot play."""

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from oneloop.cli import fair, fair_state
from oneloop.cli.fair import FairError, StreamOptions, play_table, weights_of
from oneloop.cli.main import app
from oneloop.core import storage
from oneloop.fair.people import synthetic_people


@pytest.fixture
def csv(tmp_path):
    crowd = synthetic_people(160, 0)
    rows = [",".join([*crowd.names, "good"])]
    rows += [",".join(map(str, [*x, int(y)])) for x, y in zip(crowd.x.tolist(), crowd.y, strict=True)]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def asked(csv, **options):
    return StreamOptions(**{"table": csv, "label": "good", "rules": 20, **options})


def quiet():
    return Console(file=open("/dev/null", "w"))


@pytest.mark.parametrize("learner", ["exp2", "ftpl"])
def test_a_run_that_is_killed_goes_on_to_the_bit(csv, tmp_path, monkeypatch, learner):
    whole = play_table(asked(csv, learner=learner), tmp_path / "whole", 10, False, quiet())
    original, saves = fair.save, []

    def dies(directory, rounds, state):
        original(directory, rounds, state)
        saves.append(rounds)
        if rounds == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(fair, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        play_table(asked(csv, learner=learner), tmp_path / "cut", 10, False, quiet())
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"round": 20, "err')  # killed while it wrote the next
    again = play_table(asked(csv, learner=learner), tmp_path / "cut", 10, True, quiet())
    assert saves == [10, 20, 30, 40] and again.measured == whole.measured
    one, other = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut"))
    assert one == other and len(one.splitlines()) == 40
    states = [fair_state.saved(tmp_path / name) for name in ("whole", "cut")]
    assert [len(found) for found in states] == [1, 1]
    left, right = (json.dumps(str(storage.read_state(found[0]))) for found in states)
    assert left == right


def test_the_command_prints_accounts_and_writes_a_page(csv, tmp_path):
    options = {"--label": "good", "--rules": 20, "--run": tmp_path / "run", "--rounds": 60}
    out = CliRunner().invoke(app, ["fair", str(csv), *(str(w) for pair in options.items() for w in pair)])
    assert out.exit_code == 0, out.output
    for words in ("violating rounds", "best policy fair at 0.1", "bound", "60 rounds"):
        assert words in out.stdout
    page = (tmp_path / "run" / "fair.html").read_text()
    assert "violating rounds" in (tmp_path / "run" / "fair.svg").read_text()
    assert page.count("<svg") == 2 and "https:" not in page
    assert "Content-Security-Policy" in page and "The panel reported" in page
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(60)) and {"error", "gap"} <= set(lines[0])


def test_a_directory_holds_one_run(csv, tmp_path):
    play_table(asked(csv, rounds=5), tmp_path / "run", 10, False, quiet())
    with pytest.raises(FileExistsError, match="holds a run already"):
        play_table(asked(csv, rounds=5), tmp_path / "run", 10, False, quiet())
    with pytest.raises(FileExistsError, match="names other options"):
        play_table(asked(csv, rounds=6), tmp_path / "run", 10, True, quiet())


def test_auditors_by_weights(csv):
    stream = fair.ApplicantStream(asked(csv, auditor=["age=2,priors=0.5", "other=1"]))
    assert [a.weights.tolist() for a in stream.panel.auditors] == [[2, 0.5, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert weights_of("town=a=2", ("town=a",)).tolist() == [2.0]
    with pytest.raises(FairError, match="no feature is called 'agee'; did you mean 'age'"):
        weights_of("agee=1", ("age", "priors"))
    with pytest.raises(FairError, match="the weight of 'age' must be a number, got 'x'"):
        weights_of("age=x", ("age",))


def test_defaults_follow_the_paper(csv):
    stream = fair.ApplicantStream(asked(csv, learning_rate=0.0))
    assert stream.penalty == pytest.approx(40**0.2)
    bound = stream.cost_bound(40)
    assert bound == pytest.approx(2 * (4 + 2 * stream.penalty) * (40 * 2.995732) ** 0.5, rel=1e-5)
    ftpl = fair.ApplicantStream(asked(csv, learner="ftpl"))
    assert ftpl.penalty == pytest.approx(40 ** (4 / 45)) and ftpl.cost_bound(40) == float("inf")


def test_what_cannot_be_played(csv):
    with pytest.raises(FairError, match="--learner must be exp2 or ftpl, got 'exp3'"):
        fair.ApplicantStream(asked(csv, learner="exp3"))
    with pytest.raises(ValueError, match="gamma must be in"):
        fair.ApplicantStream(asked(csv, gamma=0.0))
    with pytest.raises(ValueError, match="no column 'bad'; there are"):
        fair.ApplicantStream(asked(csv, label="bad"))
