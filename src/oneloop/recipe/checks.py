"""Checks of a whole recipe beyond the bounds of each option: columns read and written, units, divisibility.

Every fault is one sentence with its path, so that a recipe shows all of them at once.
"""

from collections.abc import Iterator
from typing import Any

from oneloop.core.columns import declarations, family
from oneloop.core.declared import declared
from oneloop.core.protocols import DressDefaults, PolicyDefaults, trait
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.core.rooms import names, part_name
from oneloop.judge.stage import judge_name, weight_of

LOOP = ("actions.share", "drop_group")
"""Columns that the loop itself writes."""
KINDS = {"logprob": ("nats", "nats_per_dim"), "entropy": ("discrete", "differential")}
STAGES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("dress",), ()),
    (("judge",), ("reward",)),
    (("keep", "credit", "select", "objective"), ()),
)
"""Stages in the order of their calls: (rooms of parts, columns that the stage itself writes)."""
FLAW = "actions.flaw"
BY_OUTCOME = ("keep_mixed", "mixed_groups")
"""Filters that look at outcomes unless told to look at tokens."""
NO_SUBNETS = "give a language policy the option elastic, or leave this out"
Place = tuple[str, Any]


def check_phase(where: str, phase: Any, recipe: Any) -> list[str]:
    """Faults of one phase of `recipe`, [] when it can run."""
    return [
        *_columns(where, phase, recipe.policy),
        *_overwritten(where, phase),
        *_twice(where, phase.judge),
        *_weights(where, phase.judge),
        *_rivals(where, phase.judge),
        *_blind_filters(where, phase),
        *_units(where, phase, recipe.policy),
        *_demonstrations(where, phase),
        *_minibatches(where, phase),
        *_greedy(where, phase, recipe.policy),
        *_stops(where, phase, recipe.policy),
        *_in_flight(where, phase, recipe.policy),
        *_elastic(where, phase, recipe.policy),
        *recipe.runtime.faults(where, phase),
    ]


def check_evaluation(where: str, recipe: Any) -> list[str]:
    """Faults of the `evaluate` section."""
    spec = recipe.evaluate
    if spec is None:
        return []
    if spec.flops and trait(recipe.policy, PolicyDefaults, "elastic") is None:
        return [f"{where}.flops: the policy has no subnets; {NO_SUBNETS}"]
    if not recipe.evaluation_judges:
        return [f"{where}.judge: nobody scores the evaluation; add a judge ({', '.join(names('judge'))})"]
    return [*_twice(where, spec.judge), *_weights(where, spec.judge)]


def _placed(where: str, phase: Any, *rooms: str) -> Iterator[Place]:
    """(path, part) of each of `rooms` in order."""
    for room in rooms:
        if room == "keep":
            if phase.plan.keep is not None:
                yield f"{where}.plan.keep.{_name(phase.plan.keep)}", phase.plan.keep
        elif room == "dress":
            for index, instance in enumerate(phase.plan.dress):
                yield f"{where}.plan.dress[{index}].{_name(instance)}", instance
        else:
            for index, instance in enumerate(getattr(phase, room)):
                yield f"{where}.{room}[{index}].{_name(instance)}", instance


def _name(instance: Any) -> str:
    return getattr(instance, "__name__", None) or part_name(type(instance))


def _columns(where: str, phase: Any, policy: Any) -> Iterator[str]:
    """Columns that a part reads and that no earlier part writes."""
    gives = {f"actions.{name}" for name in policy.gives}
    written = {*declared(phase.plan, "writes"), *declared(policy, "writes"), *LOOP, *gives}
    if phase.sample == "demonstrations":
        written -= {"actions.logprob", "actions.proximal"}
    for rooms, writes in STAGES:
        if "keep" in rooms:
            yield from _learnt(where, phase, written)
        for place, instance in _placed(where, phase, *rooms):
            for column in declared(instance, "reads"):
                if column not in written:
                    remedy = _remedy(column, phase)
                    yield f"{place}: reads '{column}', which nothing before it writes; {remedy}"
            written |= {*declared(instance, "writes"), *writes}


def _learnt(where: str, phase: Any, written: set[str]) -> Iterator[str]:
    """Columns of judged rows that a dress part reads and that no part writes."""
    for place, instance in _placed(where, phase, "dress"):
        for column in trait(instance, DressDefaults, "learns"):
            if column not in written:
                remedy = _remedy(column, phase)
                yield f"{place}: learns from '{column}', which nothing writes; {remedy}"


def _remedy(column: str, phase: Any) -> str:
    if phase.sample == "demonstrations" and column in ("actions.logprob", "actions.proximal"):
        return (
            "the policy did not sample the demonstrations; take an objective such as supervised or one_token"
        )
    if column == "reward":
        mine = (
            "demonstrations carry no reward; leave this out or " if phase.sample == "demonstrations" else ""
        )
        return f"{mine}add a judge ({', '.join(names('judge'))})"
    if column == "reference_output":
        return "set policy.flow.beside_reference: true"
    table, name = Actions if column.startswith("actions.") else Rollouts, column.removeprefix("actions.")
    known = declarations(table).get(name) or family(name)
    return f"{known.by} writes it" if known else "no known part writes it"


def _overwritten(where: str, phase: Any) -> Iterator[str]:
    """A credit part that throws away what the one before it wrote."""
    writer: dict[str, str] = {}
    for place, instance in _placed(where, phase, "credit"):
        for column in declared(instance, "writes"):
            if column in writer and column not in declared(instance, "reads"):
                yield f"{place}: overwrites '{column}' of {writer[column]} without reading it; leave one out"
            writer[column] = place.removeprefix(f"{where}.")


def _twice(where: str, judges: tuple[Any, ...]) -> Iterator[str]:
    """Judges that write the same columns."""
    first: dict[str, int] = {}
    for index, judge in enumerate(judges):
        name = judge_name(judge)
        if name in first:
            place = f"{where}.judge[{index}].{_name(judge)}"
            yield f"{place}: judge[{first[name]}] is called '{name}' too; give it another name"
        first.setdefault(name, index)


def _rivals(where: str, judges: tuple[Any, ...]) -> Iterator[str]:
    """Two judges that mark the same actions: the second would wipe out the first."""
    writer: dict[str, int] = {}
    for index, judge in enumerate(judges):
        marks = [column for column in declared(judge, "writes") if column.startswith("actions.")]
        if rivals := [column for column in marks if column in writer]:
            place = f"{where}.judge[{index}].{_name(judge)}"
            yield f"{place}: overwrites '{rivals[0]}' of judge[{writer[rivals[0]]}]; leave one of them out"
        writer |= {column: index for column in marks if column not in writer}


def _blind_filters(where: str, phase: Any) -> Iterator[str]:
    """Filters by outcome before or after credit by token: they drop groups that would teach."""
    by_token = [place for place, one in _placed(where, phase, "credit") if FLAW in declared(one, "reads")]
    for place, instance in _placed(where, phase, "keep", "select"):
        if by_token and _name(instance) in BY_OUTCOME and instance.by == "reward":
            yield (
                f"{place}: leaves out groups whose outcomes are equal, but to "
                f"{by_token[0].removeprefix(f'{where}.')} those with a wrong step teach; write by: token"
            )


def _weights(where: str, judges: tuple[Any, ...]) -> Iterator[str]:
    if judges and not any(weight_of(judge) for judge in judges):
        yield f"{where}.judge: no judge has a weight, so there is no reward"


def _units(where: str, phase: Any, policy: Any) -> Iterator[str]:
    for place, instance in _placed(where, phase, "keep", "credit", "select", "objective"):
        for kind, has in policy.units.items():
            accepted = [unit for unit in declared(instance, "units") if unit in KINDS[kind]]
            if accepted and has not in accepted:
                yield f"{place}: works on a {kind} in {' or '.join(accepted)}, but the policy's is in {has}"


def _demonstrations(where: str, phase: Any) -> Iterator[str]:
    copies = phase.plan.count.n
    if phase.sample == "demonstrations" and copies > 1:
        place = f"{where}.plan.count.{_name(phase.plan.count)}.n"
        yield f"{place}: a data row has one demonstration, so {copies} would be copies of it; write 1"


def _minibatches(where: str, phase: Any) -> Iterator[str]:
    groups, pieces = phase.plan.groups, phase.learner.minibatches
    if groups % pieces:
        fitting = ", ".join(map(str, nearest_divisors(groups, pieces)))
        multiples = ", ".join(map(str, nearest_multiples(groups, pieces)))
        yield (
            f"{where}.learner.minibatches: {pieces} does not divide plan.groups = {groups}; "
            f"nearest minibatches that do: {fitting}; nearest groups it divides: {multiples}"
        )


def _greedy(where: str, phase: Any, policy: Any) -> Iterator[str]:
    """Greedy sampling, with which all rollouts of a group would be equal."""
    if phase.sample == "policy" and trait(policy, PolicyDefaults, "temperature") == 0:
        yield f"{where}: samples from a policy with temperature 0, greedy; give it one above 0"


def _stops(where: str, phase: Any, policy: Any) -> Iterator[str]:
    """Rollouts that would have to stop, be drawn or branch after their last action."""
    for place, instance in _placed(where, phase, "dress"):
        needed, steps = trait(instance, DressDefaults, "steps_needed"), trait(policy, PolicyDefaults, "steps")
        if steps is not None and needed > steps:
            yield (
                f"{place}: reaches up to action {needed - 1}, but policy.flow.steps is {steps}, which makes "
                f"{steps - 1} actions (the last call of the network renders): nothing after them is drawn or "
                f"learned from. Let it end earlier, or set policy.flow.steps to {needed}"
            )


def _in_flight(where: str, phase: Any, policy: Any) -> Iterator[str]:
    """A policy that finishes all it begins has no use for prompts beside those of a batch.

    Only a `keep` that refuses groups has: the others would wait and be learned from when they are stale.
    """
    plan = phase.plan
    if (
        trait(policy, PolicyDefaults, "finishes")
        and plan.keep is None
        and (plan.in_flight or plan.groups) > plan.groups
    ):
        yield (
            f"{where}.plan.in_flight: {plan.in_flight} is more than groups ({plan.groups}), but a flow "
            "policy finishes every image it begins, so the rest would be trained on when later weights have "
            "come; leave in_flight out"
        )


def _elastic(where: str, phase: Any, policy: Any) -> Iterator[str]:
    """Budgets of FLOPs for a policy that has one size."""
    for place, instance in _placed(where, phase, "dress"):
        if "flops" in declared(instance, "writes") and trait(policy, PolicyDefaults, "elastic") is None:
            yield f"{place}: draws flops, but the policy has no subnets; {NO_SUBNETS}"


def nearest_divisors(whole: int, wanted: int, count: int = 3) -> list[int]:
    """The `count` divisors of `whole` nearest to `wanted`, in order of size."""
    small = [d for d in range(1, min(whole, 10**6) + 1) if d * d <= whole and whole % d == 0]
    divisors = {*small, *(whole // d for d in small)}
    return sorted(sorted(divisors, key=lambda d: (abs(d - wanted), d))[:count])


def nearest_multiples(value: int, step: int, count: int = 3) -> list[int]:
    """The `count` positive multiples of `step` nearest to `value`, in order of size."""
    around = range(max(1, value // step - count), value // step + count + 1)
    return sorted(sorted((step * k for k in around), key=lambda m: (abs(m - value), m))[:count])
