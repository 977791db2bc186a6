"""What a recipe must satisfy beyond the bounds of each option: who writes what is read, and units.

Every fault is one sentence with its path, so that a recipe shows all of them at once.
"""

from collections.abc import Iterator
from typing import Any

from oneloop.part import declared, find, name_of, names

PLANNED = ("id", "group", "key", "example", "context", "budget", "last", "status", "drop_group")
SAMPLED = ("text", "actions.parent", "actions.version", "actions.logprob", "actions.token", "actions.share")
ANNOTATED = ("actions.entropy", "actions.proximal", "actions.reference")


def check_phase(name: str, phase: Any, recipe: Any) -> list[str]:
    """Faults of one phase of `recipe`, () when it can run."""
    where = f"recipe.phases.{name}" if len(recipe.phases) > 1 or name != "train" else "recipe"
    return [*_columns(where, phase), *_units(where, phase, recipe.policy), *_numbers(where, phase)]


def _stages(phase: Any) -> Iterator[tuple[str, Any]]:
    for room in ("judge", "credit", "select", "objective"):
        for index, instance in enumerate(getattr(phase, room)):
            yield f"{room}[{index}] {name_of(type(instance))}", instance
    if phase.plan.keep is not None:
        yield f"plan.keep {name_of(type(phase.plan.keep))}", phase.plan.keep


def _columns(where: str, phase: Any) -> Iterator[str]:
    written = {*PLANNED, *SAMPLED, *ANNOTATED}
    if phase.judge:
        written.add("reward")
    if phase.sample == "demonstrations":
        written -= {"actions.logprob", "actions.proximal"}
    for place, instance in _stages(phase):
        for column in declared(instance, "reads"):
            if column not in written:
                yield f"{where}.{place}: reads '{column}', which nothing before it writes; {_remedy(column, phase)}"
        written |= set(declared(instance, "writes"))


def _remedy(column: str, phase: Any) -> str:
    if phase.sample == "demonstrations" and column in ("actions.logprob", "actions.proximal"):
        return (
            "demonstrations were not sampled by the policy; use an objective such as supervised or one_token"
        )
    if column == "reward":
        return f"add a judge ({', '.join(names('judge'))})"
    writers = [
        f"{room} part '{name}'"
        for room in ("judge", "credit", "select")
        for name in names(room)
        if isinstance(writes := find(room, name).part_writes, tuple) and column in writes
    ]
    return f"add {' or '.join(writers)}" if writers else "no known part writes it"


def _units(where: str, phase: Any, policy: Any) -> Iterator[str]:
    has = set(getattr(policy, "units", {"logprob": "nats", "entropy": "discrete"}).values())
    for place, instance in _stages(phase):
        wants = set(declared(instance, "units"))
        if wants and not wants & has:
            yield f"{where}.{place}: works on {' or '.join(sorted(wants))}, but the policy has {' and '.join(sorted(has))}"


def _numbers(where: str, phase: Any) -> Iterator[str]:
    groups, pieces = phase.plan.groups, phase.learner.minibatches
    if groups % pieces:
        yield (
            f"{where}.learner.minibatches: {pieces} does not divide plan.groups = {groups}; "
            f"nearest that do: {', '.join(map(str, nearest_divisors(groups, pieces)))}"
        )


def nearest_divisors(whole: int, wanted: int, count: int = 3) -> list[int]:
    """The `count` divisors of `whole` nearest to `wanted`, in order of size."""
    divisors = [d for d in range(1, whole + 1) if whole % d == 0]
    return sorted(sorted(divisors, key=lambda d: (abs(d - wanted), d))[:count])
