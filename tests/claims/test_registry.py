"""measure/registry.py: intervals against known values, what is written, what is refused."""

import json
import math

import pytest
from benchmarks.claims import registry
from benchmarks.claims.registry import Claim, interval, methods, run_claim
from scipy import stats

from oneloop.recipe.text import shipped

KEYS = [
    "name",
    "paper",
    "parts",
    "recipe",
    "claim",
    "target",
    "found",
    "measured",
    "low",
    "high",
    "seeds",
    "holds",
    "date",
    "hardware",
]


def run(seed, advance):
    advance(f"seed {seed}")
    return {"ours": {"accuracy": 0.5 + 0.1 * seed}, "theirs": {"accuracy": 0.25 + 0.05 * seed}}


def toy(target, run=run):
    def headline(rows):
        return rows["ours"]["accuracy"] / rows["theirs"]["accuracy"]

    return Claim("arXiv 0000.00000", ("one_token",), "toy", "twice", target, run, headline, units=1)


@pytest.fixture
def registered(monkeypatch):
    def register(claim):
        monkeypatch.setattr(registry, "names", lambda: ["toy"])
        monkeypatch.setattr(registry, "find_claim", lambda name: claim)

    return register


def test_interval_is_students():
    values = [0.1, 0.4, 0.35, 0.8]
    mean, low, high = interval(values)
    expected = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected) and mean == pytest.approx(0.4125)
    assert interval([2.0, 2.0]) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        interval([1.0])


@pytest.mark.parametrize(("target", "holds"), [(1.999, True), (2.001, False)])
def test_a_claim_is_run_written_and_listed(tmp_path, registered, target, holds):
    registered(toy(target))
    assert [method["measured"] for method in methods(tmp_path)] == [None]
    result = run_claim("toy", 3, tmp_path, tmp_path)
    assert list(result)[: len(KEYS)] == KEYS and result["holds"] is holds and result["seeds"] == 3
    assert result["measured"] == pytest.approx(2.0)
    ours = result["table"][0]
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert ours["row"] == "ours"
    assert ours["accuracy"] == pytest.approx({"mean": 0.6, "low": 0.6 - half, "high": 0.6 + half})
    assert json.loads((tmp_path / "toy.json").read_text()) == result
    assert methods(tmp_path) == [{key: result[key] for key in KEYS}]


def test_an_interrupted_claim_resumes_with_the_seeds_it_finished(tmp_path, registered):
    ran = []

    def interrupted(seed, advance):
        if seed == 2 and ran.count(2) == 0:
            ran.append(2)
            raise KeyboardInterrupt
        ran.append(seed)
        return run(seed, advance)

    registered(toy(2, interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_claim("toy", 4, tmp_path, tmp_path)
    assert run_claim("toy", 4, tmp_path, tmp_path, resume=True)["seeds"] == 4
    assert ran == [0, 1, 2, 2, 3]
    run_claim("toy", 2, tmp_path, tmp_path)
    assert ran[5:] == [0, 1], "without resume all is run anew"


def test_seeds_in_processes_give_the_same_table(tmp_path, registered):
    registered(toy(2))
    alone = run_claim("toy", 4, tmp_path, tmp_path)
    assert run_claim("toy", 4, tmp_path, tmp_path, workers=2) == alone


def test_one_seed_is_no_interval_and_unknown_claims_are_named(tmp_path):
    with pytest.raises(ValueError, match="at least 2 seeds, got 1"):
        run_claim("otr", 1, tmp_path)
    with pytest.raises(ValueError, match="no claim is called 'otrr'; known: .*otr"):
        run_claim("otrr", 2, tmp_path)


def test_every_claim_is_complete():
    for method in methods():
        assert (
            method["claim"]
            and method["paper"]
            and method["parts"]
            and (method["recipe"] in shipped() or method["recipe"].startswith("docs/"))
        )
