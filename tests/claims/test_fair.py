"""claims/fair: its streams and baselines are what they say; a tiny seed runs through and comes again."""

import numpy as np
import pytest
from benchmarks.claims import fair
from benchmarks.claims.fair import streams, verdicts


@pytest.fixture
def tiny(monkeypatch):
    """Forty rounds, twelve rules, two steps of training."""
    monkeypatch.setattr(fair, "ROUNDS", 60)
    monkeypatch.setattr(fair, "FTPL_ROUNDS", 10)
    monkeypatch.setattr(streams, "RULES", 12)
    monkeypatch.setattr(streams, "SLOPE_ROUNDS", (20, 40))
    monkeypatch.setattr(streams, "SLOPE_RULES", 6)
    monkeypatch.setattr(verdicts, "STEPS", 3)
    monkeypatch.delenv(streams.DATA, raising=False)
    monkeypatch.setattr(streams, "find_compas", lambda: None)
    streams.people.cache_clear()
    yield
    streams.people.cache_clear()


def test_one_seed_is_reproducible(tiny):
    done = []
    rows = fair.run(0, done.append)
    assert rows == fair.run(0, lambda what: None) and len(done) == fair.CLAIM.units
    assert "synthetic people" in rows and fair.headline(rows) > 0
    optima = [rows[f"best policy fair at {alpha:g}"]["error"] for alpha in (0.1, 0.05, 0)]
    assert rows["best rule in hindsight"]["error"] <= optima[0] <= optima[1] <= optima[2]
    for row in rows.values():
        assert all(np.isfinite(list(row.values())))


def test_data_are_read_where_the_environment_says(tiny, monkeypatch, tmp_path):
    path = tmp_path / "compas.csv"
    path.write_text(
        "sex,age,juv_fel_count,juv_misd_count,juv_other_count,priors_count,c_charge_degree,two_year_recid\n"
        "Male,30,0,0,0,2,F,1\nFemale,40,0,0,0,0,M,0\n"
    )
    monkeypatch.setenv(streams.DATA, str(path))
    crowd, what = streams.people()
    assert what == "COMPAS" and crowd.y.tolist() == [0, 1]


def test_the_headline_is_the_worst_of_three_quotients():
    def rows(times, more, far):
        names = ("times fewer violations", "more error", "from the fair optimum")
        return {"claimed": dict(zip(names, (times, more, far), strict=True))}

    assert fair.headline(rows(5, 0.06, 0.02)) == pytest.approx(1)
    assert fair.headline(rows(10, 0.06, 0.04)) == pytest.approx(0.5)
    assert fair.headline(rows(4, 0.01, 0.001)) == pytest.approx(0.8)


def test_exponents_of_powers():
    assert streams.exponent([float(t) ** 0.8 for t in streams.SLOPE_ROUNDS]) == pytest.approx(0.8, abs=1e-9)


def test_leaders_that_see_all_are_the_best_rule_in_the_end(tiny):
    of = streams.stream(streams.synthetic_people(500, 1), 400, 4, 12, 0)
    panel = of.panel(0.1, 0.5)
    found = streams.baselines(of, panel)
    full, imputed = found["follow the leader, full labels"], found["follow the leader, unseen as 0"]
    assert full["error"] == pytest.approx(streams.best_rule(of), abs=0.03)
    assert imputed["accepted"] < full["accepted"]


def test_random_choice_meets_the_same_number_of_verdicts(tiny):
    judge = fair.JUDGES["right, price .5"]
    _, paid = verdicts.trained(0, judge)
    again, spent = verdicts.trained(0, judge, paid)
    assert spent == paid and len(again) == 3
    batch = verdicts.at_random(verdicts.Table(0).sample(0, 0), 5)
    assert int(batch["paid"].sum()) == 5 == int((~batch["reward.one_sided"].isnan()).sum())


def test_accuracy_of_the_table_is_exact():
    policy = verdicts.Table(0)
    batches = [verdicts.Exact()(policy.sample(step, 0))["reward.exact"].mean() for step in range(200)]
    assert float(np.mean(batches)) == pytest.approx(policy.accuracy(), abs=0.02)
