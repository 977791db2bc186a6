"""claims/fair: its streams and baselines are what they say; a tiny seed runs through and comes again."""

import numpy as np
import pytest
from benchmarks.claims import fair
from benchmarks.claims.fair import streams, verdicts


@pytest.fixture
def tiny(monkeypatch):
    """Forty rounds, twelve rules, two steps of training."""
    monkeypatch.setattr(fair, "ROUNDS", 60)
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
    assert "synthetic people" in rows
    optima = [rows[f"best {what} in hindsight"]["error"] for what in ("rule", "fair policy")]
    assert optima[0] <= optima[1]
    for row in rows.values():
        assert all(np.isfinite(list(row.values())))


def test_cost_is_error_and_violations_beyond_what_is_allowed(tiny, monkeypatch):
    rows = {arm.name: fair.train(arm.name, arm.grid[1], 0) for arm in fair.CLAIM.arms}
    assert rows["C = 0"] == fair.train("C = 0", 0.003, 0)
    for row in rows.values():
        assert row["cost"] == row["error"] + max(0.0, row["violating rounds"] - 0.05) and row["work"] == 240
    cheaper = min(rows[name]["cost"] for name in ("C = 0", "C = 0, all in"))
    assert fair.headline(rows) == cheaper - rows["penalty"]["cost"]


def test_accepting_everyone_is_fair_and_a_weight_of_0_is_exp2(tiny):
    of = fair.drawn(0)
    everyone = streams.all_in(of, fair.panel(of), 1.0)
    assert everyone["violating rounds"] == 0 and everyone["error"] == pytest.approx(1 - of.y.mean())
    assert streams.all_in(of, fair.panel(of), 0.0) == pytest.approx(streams.exp2(of, fair.panel(of), 0.0))


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
