"""What the theory promises, to be drawn beside what was measured.

Exp2 with learning rate eta on costs in [0, 1] of k' = k + 2C people and 2k' items, against any law over N
rules:

    R(T) <= ln N / eta + eta T k'^2                 (= 2 k' sqrt(T ln N) at eta = sqrt(ln N / T) / k')

on the scale of costs, so 2 R on that of errors. On every violating round the policy's gap exceeds that of a
policy that is fair at alpha - eps by more than eps, hence (the Lagrangian argument)

    regret + C eps V <= 2 R      so      regret <= 2 R      and      V <= (2 R + k T) / (C eps)

At C = T^(1/5) the paper states O(T^(4/5)) for both with Exp2, and at C = T^(4/45) O(T^(41/45)) with FTPL, up
to constants; for FTPL it gives none, so no line is drawn there.
"""

import math

PAPER_PENALTY_EXPONENT = {"exp2": 1 / 5, "ftpl": 4 / 45}
PAPER_EXPONENT = {"exp2": 4 / 5, "ftpl": 41 / 45}


def exp2_cost_bound(rules: int, rounds: float, people: int, penalty: float, learning_rate: float) -> float:
    """Bound R on the regret in costs after `rounds`; infinite for a learning rate of 0."""
    if learning_rate == 0:
        return math.inf
    wide = people + 2 * penalty
    return math.log(rules) / learning_rate + learning_rate * rounds * wide**2


def regret_bound(cost_bound: float) -> float:
    """Bound on the regret in errors, against any policy that is fair at the panel's own alpha."""
    return 2 * cost_bound


def violation_bound(cost_bound: float, rounds: float, people: int, penalty: float, eps: float) -> float:
    """Bound on violating rounds, when a policy fair at alpha - `eps` exists; infinite without a penalty."""
    return (2 * cost_bound + people * rounds) / (penalty * eps) if penalty and eps else math.inf


def default_penalty(learner: str, rounds: int) -> float:
    """The penalty C that the paper sets for this learner and so many rounds."""
    return float(rounds ** PAPER_PENALTY_EXPONENT[learner])
