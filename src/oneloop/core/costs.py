"""What a run has taken so far, in every unit a budget can be given in; the one place that counts it.

    sampled_tokens       actions the policy chose: tokens, or denoising steps       metric num_tokens
    trained_tokens       actions with a share in a batch, once a batch              metric trained_tokens
    network_evaluations  tokens or latents forwarded, to sample and to learn        the same name
    flops                what these evaluations take (meter.py)                     the same name
    seconds              wall time of steps                                         metric train_time

Actions are counted when a batch takes them or a group is refused, the rest when they happen. Held-out
evaluations, checkpoints and reports cost nothing here. All but seconds survive a kill exactly: the journal
remembers what an ask took.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts

Unit = Literal["sampled_tokens", "trained_tokens", "network_evaluations", "flops", "seconds"]
UNITS: tuple[Unit, ...] = get_args(Unit)
METRICS: dict[Unit, str] = {
    "sampled_tokens": "num_tokens",
    "trained_tokens": "trained_tokens",
    "network_evaluations": "network_evaluations",
    "flops": "flops",
    "seconds": "train_time",
}


class Costs:
    """Running totals of one run, by unit."""

    def __init__(self, spent: Mapping[Unit, float] | None = None):
        self.spent: dict[Unit, float] = {unit: (spent or {}).get(unit, 0) for unit in UNITS}
        self._meter: tuple[float, float] = (0, 0)

    def start(self, meter: Meter) -> None:
        """A step begins: what `meter` counted before (a held-out evaluation, say) is not the run's cost."""
        self._meter = (meter.plain, meter.learned)

    def add(self, batch: Rollouts, piles: Any, policy: Any, seconds: float) -> None:
        """A step is over: its batch, and what the plan's piles refused and discarded meanwhile."""
        sampled = int((batch.actions.version >= 0).sum()) + sum(len(p.actions) for p in piles.refused)
        meter: Meter = policy.meter
        step = Meter(meter.tokens, meter.plain - self._meter[0], meter.learned - self._meter[1])
        self.start(meter)
        self.spent["sampled_tokens"] += sampled + piles.discarded
        self.spent["trained_tokens"] += int((batch.actions.share > 0).sum())
        self.spent["network_evaluations"] += step.total
        self.spent["flops"] += step.flops(policy.model)
        self.spent["seconds"] += seconds

    @property
    def metrics(self) -> dict[str, float]:
        """The totals under the names that metrics.jsonl has for them."""
        return {METRICS[unit]: amount for unit, amount in self.spent.items()}


def costs_of(line: Mapping[str, Any]) -> dict[Unit, float]:
    """The totals that a line of metrics.jsonl tells; units it does not tell are left out."""
    return {unit: line[metric] for unit, metric in METRICS.items() if metric in line}


def exhausted(
    budget: Mapping[Unit, float], spent: Mapping[Unit, float], before: Mapping[Unit, float]
) -> bool:
    """Whether a phase that began at the totals `before` has used up one of the limits in `budget`."""
    return any(spent[unit] - before.get(unit, 0) >= most for unit, most in budget.items())
