"""fair/semi_bandit_ftpl.py: its closed form, exact expectations of geometric resampling, resuming."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from oneloop.core import draws, storage
from oneloop.fair import play
from oneloop.fair.oracles import EnumeratedOracle, EstimatorOracle
from oneloop.fair.panel import Violation
from oneloop.fair.rules import greedy_separator, random_linear_rules
from oneloop.fair.semi_bandit_ftpl import SemiBanditFtpl, geometric_resample, laplace_differences
from tests.fair.small import Table, numbered, small_stream


def closed_form(rate, c):
    """Chance that a difference of two Laplace draws lies below -c."""
    tail = np.exp(-rate * abs(c)) * (2 + rate * abs(c)) / 4
    return tail if c >= 0 else 1 - tail


@pytest.mark.parametrize(("c", "wanted"), [(0, 0.5), (1, 0.425970), (5, 0.195239), (-2, 0.643273)])
def test_two_constants_and_one_point(c, wanted):
    """H = {reject all, accept all}, one separator point, net accept cost c so far."""
    assert closed_form(0.3, c) == pytest.approx(wanted, abs=1e-6)
    oracle = EnumeratedOracle(Table([[0], [1]]), numbered(1))
    oracle.add(numbered(1), np.array([float(c)]))
    learner = SemiBanditFtpl(oracle, penalty=0, noise=0.3, policy_samples=100_000)
    assert learner.propose(numbered(1))[0] == pytest.approx(wanted, abs=0.005)


def test_noise_is_laplace():
    uniforms = draws.uniforms(draws.mix(3), np.arange(200_000)).reshape(-1, 2)
    z = laplace_differences(uniforms, 0.5)
    assert np.isfinite(z).all() and z.mean() == pytest.approx(0, abs=0.05)
    assert z.var() == pytest.approx(4 / 0.5**2, rel=0.03)  # two Laplace variances of 2 / rate^2
    assert np.isfinite(laplace_differences(np.array([[0.0, 1 - 2**-53]]), 1.0)).all()


def test_resampling_counts_draws_until_the_decision_recurs():
    redraws = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0]], dtype=bool)
    assert geometric_resample(redraws, np.array([True, True, True])).tolist() == [2, 1, 3]
    assert geometric_resample(redraws[:1], np.array([True, False, True])).tolist() == [1, 1, 1]  # L = 1


def test_expected_resamples_exactly():
    """Every outcome of the redraws enumerated: E[J] = (1 - (1 - q)^L) / q."""
    q, limit = 0.25, 4
    mean = sum(
        np.prod([q if hit else 1 - q for hit in hits])
        * geometric_resample(np.array(hits, dtype=bool)[:, None], np.array([True]))[0]
        for hits in itertools.product([0, 1], repeat=limit)
    )
    assert mean == pytest.approx(2.734375, abs=1e-12)
    assert mean == pytest.approx((1 - (1 - q) ** limit) / q, abs=1e-12)


def test_expected_costs_with_shared_redraws_exactly():
    """H = [[1,0],[1,1],[0,0]], p = (.5,.3,.2), y = (0,1), L = 3: biased low by (1 - q)^L, nothing else."""
    rules, law = np.array([[1, 0], [1, 1], [0, 0]], dtype=bool), np.array([0.5, 0.3, 0.2])
    mean = np.zeros(2)
    for played, *again in itertools.product(range(3), repeat=4):
        weight = geometric_resample(rules[again], rules[played])
        chance = law[played] * law[again].prod()
        mean += chance * np.where(rules[played], weight * np.array([1.0, 0.0]), 0.0)
    assert mean == pytest.approx([0.992, 0], abs=1e-12)


def enumerated(noise=0.2, **options):
    x = small_stream()[0].reshape(-1, 3)
    rules = random_linear_rules(x, 15)
    oracle = EnumeratedOracle(rules, x[greedy_separator(rules, x)], x)
    return SemiBanditFtpl(oracle, penalty=2, noise=noise, policy_samples=8, max_resamples=10, **options)


def by_estimator(**options):
    x = small_stream()[0].reshape(-1, 3)
    oracle = EstimatorOracle(DecisionTreeClassifier(max_depth=1, random_state=0), x[:5])
    return SemiBanditFtpl(oracle, penalty=2, policy_samples=3, max_resamples=4, **options)


@pytest.mark.parametrize("make", [enumerated, by_estimator])
@pytest.mark.parametrize("acts", [False, True])
def test_resumed_it_goes_on_to_the_bit(make, acts, tmp_path):
    x, y, panel = small_stream(12)
    whole = make()
    wanted = list(play.play(whole, panel, x, y))
    first, second = make(), make()
    rounds = list(play.play(first, panel, x[:7], y))
    first.propose(x[7])
    if acts:
        first.act()
    storage.write_state(tmp_path, first.state_dict())
    second.load_state_dict(storage.read_state(tmp_path))
    if acts:
        labels = {int(i): float(y[7, i]) for i in np.flatnonzero(second.turns.chosen)}
        second.update(labels, panel.audit(second.turns.probs, x[7]))
    rounds += list(play.play(second, panel, x, y, start=7 + acts))
    assert rounds == wanted[:7] + wanted[7 + acts :]
    assert (second.cut, second.turns.round) == (whole.cut, 12)


def test_it_learns_and_its_penalty_makes_it_fairer():
    x, y, panel = small_stream(300, seed=3)
    rules = random_linear_rules(x.reshape(-1, 3), 15)
    points = x.reshape(-1, 3)[greedy_separator(rules, x.reshape(-1, 3))]
    found = {}
    for penalty in (0, 6):
        learner = SemiBanditFtpl(EnumeratedOracle(rules, points), penalty=penalty, noise=0.1)
        found[penalty] = list(play.play(learner, panel, x, y))
        assert learner.calls == 300 * (20 + 30) and learner.cut >= 0
    free = play.summary(found[0])
    assert free["error"] < play.summary(found[0][:50])["error"]
    assert play.summary(found[6])["violating rounds"] < free["violating rounds"]


def test_pending_labels_keep_the_resamples_of_their_round():
    """The same costs reach the oracle, only later."""
    learners = [enumerated(), enumerated()]
    x, _, _ = small_stream()
    for learner in learners:
        learner.propose(x[0])
        learner.act()
        learner.turns.chosen = np.array([True, False, True, False])
    accepted = [0, 2]
    labels, pair = dict.fromkeys(accepted, 0.25), Violation(0, 1, 0.5, 1)
    learners[0].update(labels, pair)
    learners[1].update({}, pair, pending=accepted)
    learners[1].settle(0, labels)
    assert learners[0].oracle.total == pytest.approx(learners[1].oracle.total, abs=1e-9)


def test_a_cut_stream_of_redraws_is_counted():
    """A rule that pays never recurs: J is the limit, and it is said."""
    oracle = EnumeratedOracle(Table([[0], [1]]), numbered(1))
    learner = SemiBanditFtpl(oracle, penalty=0, noise=1.0, max_resamples=5)
    learner.propose(numbered(1))
    learner.act()
    oracle.total = np.array([0.0, -1e6 if not learner.turns.chosen[0] else 1e6])
    learner.update({0: 0.0} if learner.turns.chosen[0] else {})
    assert learner.cut == 1


def test_estimator_oracle_is_weighted_erm():
    """A stump over one feature: the best split by brute force."""
    draw = np.random.Generator(np.random.Philox(0))
    x, cost = draw.random((30, 1)), draw.normal(size=30)
    oracle = EstimatorOracle(DecisionTreeClassifier(max_depth=1, criterion="gini"), np.zeros((1, 1)))
    oracle.add(x, cost)
    decided = oracle.decide(np.zeros((1, 1)), x)[0]
    constant = EstimatorOracle(LogisticRegression(), np.zeros((1, 1)))
    assert constant.decide(np.zeros((1, 1)), x)[0].tolist() == [False] * 30  # no history: reject
    constant.add(x, -np.abs(cost))
    assert constant.decide(np.zeros((1, 1)), x).all()
    best = min((cost[x[:, 0] <= t].sum(), cost[x[:, 0] > t].sum(), 0.0) for t in x[:, 0])
    assert (cost @ decided) <= 0 and (cost @ decided) >= min(best) - 5


def test_rules_that_the_separator_cannot_tell_apart():
    rules = Table([[0, 0, 1], [0, 1, 1]])
    with pytest.raises(ValueError, match="rules 0 and 1 decide alike on its 1 points but not everywhere"):
        EnumeratedOracle(rules, numbered(1), numbered(3))
    EnumeratedOracle(rules, numbered(2), numbered(3))


def test_bad_options():
    oracle = EnumeratedOracle(Table([[0], [1]]), numbered(1))
    for options, words in (
        ({"penalty": -1}, "penalty .* got -1"),
        ({"penalty": 0, "noise": 0}, "noise must be above 0"),
        ({"penalty": 0, "max_resamples": 0}, "max_resamples must be at least 1, got 0"),
        ({"penalty": 0, "policy_samples": 0}, "policy_samples must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            SemiBanditFtpl(oracle, **options)
