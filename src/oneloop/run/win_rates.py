"""Win-rates against the reference, by task and criterion, and how far a learned judge's lie above the truth.

    hacking_gap = mean over the (task, criterion) both know of (what the learned judge says - what is held
    out says)

Columns `yes.<judge>.<criterion>` are a learned judge's probabilities (of rollouts, or read by an objective on
actions), `won.<judge>.<criterion>` those of a held-out judge or a true measure, on the same images. A policy
can learn to please any fixed judge; the gap is how it shows while the reward still rises. Where the two
share no criterion the means over everything are compared.
"""

import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts

Said = dict[tuple[str, str], float]
"""Mean win-rate by (task, criterion)."""


def win_rates(batch: Rollouts) -> dict[str, float]:
    """`win_rate/<judge>/<task>/<criterion>` of all judges that compare, and the gap if one is held out.

    `hacking_gap` is the mean, `hacking_gap/worst` the largest of a single task and criterion. {} without such
    judges.
    """
    learned, truth, numbers = dict[str, Said](), dict[str, Said](), dict[str, float]()
    for name, values in _columns(batch).items():
        kind, judge, criterion = name.split(".", 2)
        held = (learned if kind == "yes" else truth).setdefault(judge, {})
        held |= _by_task(batch, values, criterion)
    for judge, said in [*learned.items(), *truth.items()]:
        numbers |= {
            f"win_rate/{judge}/{task}/{criterion}": value for (task, criterion), value in said.items()
        }
    gaps = [gap for said in learned.values() for true in truth.values() for gap in differences(said, true)]
    if gaps:
        numbers |= {"hacking_gap": sum(gaps) / len(gaps), "hacking_gap/worst": max(gaps)}
    return numbers


def differences(said: Said, true: Said) -> list[float]:
    """Learned less held-out, for what both know; of the means where they share nothing; [] without either."""
    both = said.keys() & true.keys()
    if both:
        return [said[key] - true[key] for key in sorted(both)]
    if not said or not true:
        return []
    return [sum(said.values()) / len(said) - sum(true.values()) / len(true)]


def _columns(batch: Rollouts) -> dict[str, Tensor]:
    """Verdicts by column, each [n]; what an objective read of a rollout's last action counts for it."""
    found = {}
    for name in batch.actions:
        if name.startswith("yes."):
            found[name] = batch.actions[name].double()[batch.last]
    for name in batch:
        if name.startswith(("yes.", "won.")):
            found[name] = batch[name].double()
    return found


def _by_task(batch: Rollouts, values: Tensor, criterion: str) -> Said:
    tasks = [str(row.get("task") or "all") for row in batch.example]
    found: Said = {}
    for task in dict.fromkeys(tasks):
        mine = values[torch.tensor([each == task for each in tasks])]
        if bool((~mine.isnan()).any()):
            found[task, criterion] = float(mine.nanmean())
    return found
