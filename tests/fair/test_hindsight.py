"""fair/hindsight.py: cutting planes find what the whole linear program finds; closed forms; bounds."""

import math

import numpy as np
import pytest
from scipy.optimize import linprog

from oneloop.fair import costs, play
from oneloop.fair.bounds import (
    PAPER_EXPONENT,
    PAPER_PENALTY_EXPONENT,
    default_penalty,
    exp2_cost_bound,
    regret_bound,
    violation_bound,
)
from oneloop.fair.exp2 import Exp2, theory_rate
from oneloop.fair.hindsight import best_fair_in_hindsight, rule_errors
from oneloop.fair.rules import random_linear_rules
from tests.fair.small import small_stream


def whole(decisions, labels, distance, alpha):
    """The linear program with every row."""
    n, rounds, k = decisions.shape
    rows = [
        (decisions[:, t, a].astype(float) - decisions[:, t, b], distance[t, a, b] + alpha)
        for t in range(rounds)
        for a in range(k)
        for b in range(k)
    ]
    return linprog(
        rule_errors(decisions, labels),
        A_ub=np.array([row for row, _ in rows]),
        b_ub=[bound for _, bound in rows],
        A_eq=np.ones((1, n)),
        b_eq=[1.0],
        method="highs",
    ).fun


def setting(rounds=120, count=25, seed=0):
    x, y, panel = small_stream(rounds, seed=seed)
    rules = random_linear_rules(x.reshape(-1, 3), count)
    decisions = np.stack([rules.predict(row) for row in x], axis=1)
    return rules, x, y, panel, decisions, np.stack([panel.effective_distance(row) for row in x])


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.3])
def test_cutting_planes_find_the_optimum(alpha):
    _, _, y, _, decisions, distance = setting()
    found = best_fair_in_hindsight(decisions, y, distance, alpha)
    assert found.error == pytest.approx(whole(decisions, y, distance, alpha), abs=1e-6)
    probs = np.einsum("n,ntk->tk", found.law, decisions)
    assert (probs[:, :, None] - probs[:, None] - distance - alpha).max() < 1e-6
    assert found.law.sum() == pytest.approx(1, abs=1e-9) and found.rows < 120 * 16


def test_without_constraints_it_is_the_best_rule():
    _, _, y, _, decisions, distance = setting()
    found = best_fair_in_hindsight(decisions, y, distance, 1.0)
    assert found.error == pytest.approx(rule_errors(decisions, y).min(), abs=1e-9) and found.rows == 0


def test_two_people_closed_form():
    """Accept only the first of two twins at distance .2: at most .2 + alpha more than nothing."""
    decisions = np.array([[[1, 0]], [[0, 0]], [[1, 1]]], dtype=bool)
    labels, distance = np.array([[1.0, 0.0]]), np.full((1, 2, 2), 0.2)
    found = best_fair_in_hindsight(decisions, labels, distance, 0.1)
    assert found.law[0] == pytest.approx(0.3, abs=1e-9)
    assert found.error == pytest.approx(0.7 * 0.5, abs=1e-9)


def test_no_fair_mixture():
    decisions = np.array([[[1, 0]]], dtype=bool)
    with pytest.raises(ValueError, match="no mixture of the 1 rules is fair at alpha 0.1"):
        best_fair_in_hindsight(decisions, np.ones((1, 2)), np.zeros((1, 2, 2)), 0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_lagrangian_regret_is_within_the_bound(seed):
    """Regret_err + C eps V <= 2 R against a policy fair at alpha - eps, on a whole run."""
    rules, x, y, panel, decisions, distance = setting(400, seed=seed)
    penalty, eps = 2.0, 0.05
    rate = theory_rate(len(rules), 400, 4, penalty)
    rounds = list(play.play(Exp2(rules, penalty=penalty, learning_rate=rate), panel, x, y))
    fair = best_fair_in_hindsight(decisions, y, distance, panel.alpha - eps)
    regret = sum(each.error for each in rounds) - fair.error * y.size
    violations = sum(each.violated for each in rounds)
    bound = exp2_cost_bound(len(rules), 400, 4, penalty, rate)
    assert regret + penalty * eps * violations <= regret_bound(bound)
    assert violations <= violation_bound(bound, 400, 4, penalty, eps)


def test_a_reported_round_costs_more_than_any_fair_policy_by_the_penalty():
    """L_C(pi) - L_C(pi*) >= error difference + C eps wherever pi violates and pi* is fair at alpha - eps."""
    _, x, y, panel, decisions, distance = setting(300)
    fair = best_fair_in_hindsight(decisions, y, distance, panel.alpha - 0.05)
    draw, met = np.random.Generator(np.random.Philox(1)), 0
    for t in range(300):
        mine, theirs = draw.dirichlet(np.full(25, 0.1)) @ decisions[:, t], fair.law @ decisions[:, t]
        pair = panel.audit(np.clip(mine, 0, 1), x[t])
        if pair is not None:
            met += 1
            ours, other = (costs.lagrangian(p, y[t], pair, 3.0) for p in (mine, theirs))
            errors = costs.error(mine, y[t]) - costs.error(theirs, y[t])
            assert ours - other >= errors + 3.0 * 0.05 - 1e-6
    assert met > 20


def test_bounds():
    best = theory_rate(300, 4000, 4, 5.0)
    bound = exp2_cost_bound(300, 4000, 4, 5.0, best)
    assert bound == pytest.approx(2 * 14 * math.sqrt(4000 * math.log(300)), rel=1e-12)
    assert all(exp2_cost_bound(300, 4000, 4, 5.0, best * f) > bound for f in (0.5, 2))
    assert math.isinf(exp2_cost_bound(300, 4000, 4, 5.0, 0)) and math.isinf(violation_bound(1, 1, 1, 0, 0.1))
    assert default_penalty("exp2", 4000) == pytest.approx(4000**0.2)
    for name, (p, q) in {"exp2": (3 / 2, 1 / 2), "ftpl": (11 / 4, 2 / 3)}.items():
        c = (1 - q) / (1 + p)  # of R = k'^p T^q with C = T^c
        assert PAPER_PENALTY_EXPONENT[name] == pytest.approx(c) and PAPER_EXPONENT[name] == pytest.approx(
            1 - c
        )
