"""fair/exp2.py: worked example 2 to 1e-6, invariances of the law, pending labels, resuming, lock-in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.core import storage
from oneloop.fair import play
from oneloop.fair.exp2 import Exp2, drawn, probabilities, theory_rate
from oneloop.fair.panel import Violation
from oneloop.fair.rules import random_linear_rules
from tests.fair.small import WORKED, Table, numbered, small_stream

PAIR = Violation(0, 1, 1 / 3, 1)


def acted(learner, rule):
    """The learner with `rule` drawn, whatever the draw was."""
    learner.act()
    learner.turns.chosen = learner._decisions[rule]
    return learner


@pytest.mark.parametrize(
    ("estimator", "law"),
    [
        ("known", [0.171371328, 0.362793105, 0.465835567]),
        ("importance", [0.073703087, 0.227021491, 0.699275422]),
    ],
)
def test_worked_update(estimator, law):
    learner = Exp2(Table(WORKED), penalty=2, learning_rate=0.5, estimator=estimator)
    assert learner.propose(numbered(2)) == pytest.approx([2 / 3, 1 / 3], abs=1e-12)
    acted(learner, 0).update({0: 0.0}, PAIR)
    assert learner.law == pytest.approx(law, abs=1e-6)
    assert learner.law.sum() == pytest.approx(1, abs=1e-12)


def run(rules, estimator="known", rate=0.3, rounds=40, **options):
    x, y, panel = small_stream(rounds)
    learner = Exp2(rules, penalty=2, learning_rate=rate, estimator=estimator, **options)
    return learner, list(play.play(learner, panel, x, y))


def linear(count=12):
    return random_linear_rules(small_stream()[0].reshape(-1, 3), count)


def test_without_a_rate_the_law_stays_uniform():
    learner, rounds = run(linear(), rate=0.0)
    assert np.array_equal(learner.law, np.full(12, 1 / 12)) and len(rounds) == 40


@pytest.mark.parametrize("estimator", ["known", "importance"])
def test_the_law_is_a_law_and_learns(estimator):
    learner, rounds = run(linear(), estimator, rate=0.2, rounds=200)
    assert learner.law.sum() == pytest.approx(1, abs=1e-12) and (learner.law >= 0).all()
    errors = [each.error for each in rounds]
    assert np.mean(errors[-50:]) < np.mean(errors[:50])


def test_permuting_the_rules_permutes_the_law():
    """Given the same draws of decisions; the draw itself goes by the order."""
    order = np.array([2, 0, 1])
    laws = []
    for table, rule in ((WORKED, 1), (np.array(WORKED)[order], 2)):
        learner = Exp2(Table(table), penalty=2, learning_rate=0.5)
        learner.propose(numbered(2))
        acted(learner, rule).update({0: 0.0, 1: 1.0}, PAIR)
        laws.append(learner.law)
    assert laws[1] == pytest.approx(laws[0][order], abs=1e-12)


def test_a_rule_that_is_there_twice_has_twice_the_mass():
    laws = []
    for table in ([[1, 0], [1, 1], [0, 0], [1, 0]], [[1, 0], [1, 1], [0, 0]]):
        learner = Exp2(Table(table), penalty=2, learning_rate=0.5)
        if len(table) == 3:
            learner.log_weights = np.log([2.0, 1.0, 1.0])
        learner.propose(numbered(2))
        acted(learner, 0).update({0: 0.0}, PAIR)
        laws.append(learner.law)
    assert laws[0][[0, 1, 2]] + [laws[0][3], 0, 0] == pytest.approx(laws[1], abs=1e-12)


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=6), st.floats(-1e6, 1e6))
@settings(max_examples=60, deadline=None)
def test_a_constant_cost_changes_nothing(log_weights, constant):
    weights = np.array(log_weights)
    law = probabilities(weights)
    assert law.sum() == pytest.approx(1, abs=1e-12) and np.isfinite(law).all()
    assert probabilities(weights + constant) == pytest.approx(law, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
@settings(max_examples=100, deadline=None)
def test_what_is_drawn_has_probability(raw, uniform):
    law = np.array(raw)
    law = law / law.sum() if law.sum() > 1e-3 else np.full(len(law), 1 / len(law))
    assert law[drawn(law, uniform)] > 0


def test_draws_follow_the_law():
    learner = Exp2(Table(WORKED), penalty=0, learning_rate=0.0)
    accepted = np.zeros(2)
    for _ in range(3000):
        learner.propose(numbered(2))
        chosen = learner.act()
        accepted += chosen
        learner.update({int(i): 1.0 for i in np.flatnonzero(chosen)})
    assert accepted / 3000 == pytest.approx([2 / 3, 1 / 3], abs=0.03)


def test_weights_never_underflow():
    learner = Exp2(Table([[1], [0]]), penalty=0, learning_rate=500.0)
    for _ in range(50):
        learner.propose(numbered(1))
        learner.update({int(i): 0.0 for i in np.flatnonzero(learner.act())})
        assert np.isfinite(learner.log_weights).all() and learner.law.sum() == pytest.approx(1, abs=1e-12)
    learner.log_weights = np.array([-1e6, 0.0])  # exp of it is 0: still drawable, still comes back
    learner.propose(numbered(1))
    assert not learner.act()[0] and learner.law.tolist() == [0.0, 1.0]


def test_pending_labels_count_with_the_probability_of_their_round():
    at_once, later = (Exp2(Table(WORKED), penalty=2, learning_rate=0.5) for _ in range(2))
    for learner in (at_once, later):
        learner.propose(numbered(2))
        acted(learner, 1)
    at_once.update({0: 0.0, 1: 1.0}, PAIR)
    later.update({1: 1.0}, PAIR, pending=[0])
    assert list(later.turns.pending) == [(0, 0)]
    for learner in (at_once, later):
        learner.propose(numbered(2))
        acted(learner, 2).update({})
    assert later.law != pytest.approx(at_once.law, abs=1e-3)
    later.settle(0, {0: 0.0})
    assert later.law == pytest.approx(at_once.law, abs=1e-12) and not later.turns.pending


@pytest.mark.parametrize("cut", [0, 13, 39])
@pytest.mark.parametrize("acts", [None, False, True])
def test_resumed_it_goes_on_to_the_bit(cut, acts, tmp_path):
    """Stopped between rounds, after a proposal, or after acting."""
    x, y, panel = small_stream(40)
    whole, _ = run(linear(), "importance")
    first = Exp2(linear(), penalty=2, learning_rate=0.3, estimator="importance")
    list(play.play(first, panel, x[:cut], y))
    if acts is not None:
        first.propose(x[cut])
    if acts:
        first.act()
    storage.write_state(tmp_path, first.state_dict())
    second = Exp2(linear(), penalty=2, learning_rate=0.3, estimator="importance")
    second.load_state_dict(storage.read_state(tmp_path))
    if acts:
        chosen = second.turns.chosen
        labels = {int(i): float(y[cut, i]) for i in np.flatnonzero(chosen)}
        second.update(labels, panel.audit(second.turns.probs, x[cut]))
    list(play.play(second, panel, x, y, start=cut + bool(acts)))
    assert np.array_equal(second.log_weights, whole.log_weights)


def test_pending_labels_survive_a_restart(tmp_path):
    first = Exp2(Table(WORKED), penalty=2, learning_rate=0.5)
    first.propose(numbered(2))
    acted(first, 1).update({1: 1.0}, PAIR, pending=[0])
    storage.write_state(tmp_path, first.state_dict())
    second = Exp2(Table(WORKED), penalty=2, learning_rate=0.5)
    second.load_state_dict(storage.read_state(tmp_path))
    for learner in (first, second):
        learner.settle(0, {0: 0.0})
    assert np.array_equal(first.log_weights, second.log_weights)


def test_a_floor_bounds_the_weights_and_reports_its_bias():
    learner = Exp2(Table([[1], [0]]), penalty=0, learning_rate=1.0, floor=0.25)
    learner.log_weights = np.log([0.1, 0.9])
    learner.propose(numbered(1))
    acted(learner, 0).update({0: 0.0})
    assert learner.floored == 1 and learner.bias == pytest.approx(1 - 0.1 / 0.25)
    assert learner.law[0] == pytest.approx(0.1 * np.exp(-4 + 0.5) / (0.1 * np.exp(-4 + 0.5) + 0.9))


def follow_the_leader(labels):
    """Error of the rule with fewer seen mistakes, ties to accepting, until it stops looking."""
    seen, errors = 0.0, 0.0
    for y in labels:
        accepts = seen <= 0
        errors += (1 - y) if accepts else y
        seen += (0.5 - y) if accepts else 0.0
    return errors / len(labels)


def test_lock_in():
    """Three unlucky labels first: who follows the leader never accepts again (worked example 3)."""
    draw = np.random.Generator(np.random.Philox(0))
    leader, ours = [], []
    for seed in range(6):
        labels = (draw.random(2000) < 0.7).astype(float)
        labels[:3] = 0
        leader.append(follow_the_leader(labels))
        learner = Exp2(Table([[0], [1]]), penalty=0, learning_rate=np.sqrt(np.log(2) / 2000), seed=seed)
        wrong = 0.0
        for y in labels:
            probs = learner.propose(numbered(1))
            learner.update({0: y} if learner.act()[0] else {})
            wrong += probs[0] * (1 - y) + (1 - probs[0]) * y
        ours.append(wrong / 2000)
    assert np.mean(leader) == pytest.approx(0.6996, abs=0.02)
    assert np.mean(ours) == pytest.approx(0.340, abs=0.03)


def test_theory_rate():
    assert theory_rate(300, 4000, 4, 5.0) == pytest.approx(np.sqrt(np.log(300) / 4000) / 14, abs=1e-12)


def test_bad_options():
    rules = Table(WORKED)
    for options, words in (
        ({"penalty": -1}, "penalty .* got -1"),
        ({"penalty": 1, "learning_rate": -0.1}, "learning_rate must be at least 0, got -0.1"),
        ({"penalty": 1, "estimator": "best"}, "estimator must be known or importance, got 'best'"),
        ({"penalty": 1, "floor": 1.0}, "floor must be in"),
    ):
        with pytest.raises(ValueError, match=words):
            Exp2(rules, **options)
    with pytest.raises(ValueError, match="class is empty"):
        Exp2(Table(np.zeros((0, 1))), penalty=1)
    with pytest.raises(ValueError, match="state is of 3 rules, here are 2"):
        Exp2(Table([[1], [0]]), penalty=1).load_state_dict(Exp2(rules, penalty=1).state_dict())
    damaged = Exp2(rules, penalty=1)
    damaged.propose(numbered(2))
    damaged.turns.probs = np.zeros(2)
    with pytest.raises(ValueError, match="state is damaged"):
        acted(damaged, 1).update({0: 1.0, 1: 1.0})
