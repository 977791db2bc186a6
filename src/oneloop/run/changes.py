"""Detect what has changed since a run's checkpoint: versions, threads, code of parts, data.

A checkpoint remembers versions, threads, the code of parts that are not oneloop's, the data, and the files of
models (oneloop.run.sources). Where a change would silently alter what is learned or measured (data rows,
code, models), resuming is refused unless it is accepted; where it may alter the last bits (versions,
processor), it is said.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import oneloop
from oneloop.core.identity import Fingerprint, fingerprint, identity
from oneloop.core.protocols import Data
from oneloop.core.rollouts import Rollouts
from oneloop.recipe.recipe import Recipe
from oneloop.report.doctor.finding import Level
from oneloop.run.own_code import code, code_changes
from oneloop.run.sources import source_changes, sources
from oneloop.sample.plan.piles import Piles

PACKAGES = ("torch", "transformers", "peft", "diffusers", "datasets", "reasoning-gym", "math-verify", "numpy")
NAMED = 3
"""Rows named in a sentence."""


class Changed(ValueError):
    """Data or code of a run has changed since its checkpoint; `faults` has a sentence for each change."""

    def __init__(self, faults: Sequence[str]):
        advice = "put it back, or go on all the same with --accept-changes"
        self.faults = [*faults[:-1], f"{faults[-1]}; {advice}"]
        super().__init__("; ".join(self.faults))


def surroundings() -> dict[str, Any]:
    """What the last bits of a run depend on: versions, threads, processor features, device."""
    versions = {"oneloop": oneloop.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return {
        **versions,
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def made_with(recipe: Recipe) -> dict[str, Any]:
    """What a checkpoint remembers of that: surroundings, code, and what is read beside the phases' data."""
    return {"surroundings": surroundings(), "code": code(recipe), "sources": sources(recipe)}


def restored_threads(before: Mapping[str, Any]) -> str:
    """Sets the number of threads to what it was `before`; the sentence to say about it, "" for none."""
    then, now = before["threads"], torch.get_num_threads()
    if then == now:
        return ""
    if then > len(os.sched_getaffinity(0)):
        return f"{now} threads where there were {then}, so sums may round otherwise in their last bits"
    torch.set_num_threads(then)
    return f"threads set from {now} to {then}, as before: sums round by their number"


def differing(before: Mapping[str, Any]) -> str:
    """The sentence to say about other surroundings than `before`; "" where all is the same."""
    now = surroundings()
    other = [
        f"{name} {now[name]} (was {was})"
        for name, was in before.items()
        if name != "threads" and now.get(name) != was
    ]
    return (
        f"{', '.join(other)}: what follows may differ in its last bits from a run without a break"
        if other
        else ""
    )


# data


def held(piles: Piles) -> dict[int, str]:
    """{row number: identity} of the data rows of all rollouts in the plan's piles."""
    rows = {group.key: group.example for group in piles.groups.values()}
    for piece in [*piles.judged(), *piles.unfinished, *piles.refused]:
        rows |= dict(zip(piece.key.tolist(), piece.example, strict=True))
    return {key: identity(row) for key, row in rows.items()}


def other_rows(data: Data, rows: Mapping[int, str]) -> list[int]:
    """Numbers of the rows whose contents no longer have the identities in `rows`."""
    return [key for key, was in rows.items() if key >= len(data) or identity(data[key]) != was]


def data_changes(phase: str, data: Data, before: Mapping[str, Any]) -> list[str]:
    """A sentence if `data` is not what it was `before`: its fingerprint, and the rows the plan held."""
    now, was = fingerprint(data), Fingerprint(*before["fingerprint"])
    others = other_rows(data, before["held"])
    if now == was and not others:
        return []
    size = (
        f"has {now.rows} rows, and had {was.rows}"
        if now.rows != was.rows
        else f"has other contents in its {now.rows} rows"
    )
    named = ", ".join(map(str, others[:NAMED])) + (", ..." if len(others) > NAMED else "")
    if others:
        size += (
            f"; of {len(before['held'])} that rollouts in flight answer to, {len(others)} changed ({named})"
        )
    return [f"the data of phase '{phase}' {size}"]


def without(plan: dict[str, Any], keys: Sequence[int]) -> dict[str, Any]:
    """The state of a plan, less the groups of the data rows numbered `keys`."""
    gone = torch.tensor(keys)

    def kept(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        loaded = [Rollouts.from_state(piece) for piece in pieces]
        left = [piece.take(~torch.isin(piece.key, gone)) for piece in loaded]
        return [piece.state_dict() for piece in left if len(piece)]

    groups = [group for group in plan["groups"] if group["key"] not in keys]
    return {
        **plan,
        "groups": groups,
        **{pile: kept(plan[pile]) for pile in ("unfinished", "ready", "refused")},
    }


# a checkpoint


def compared(recipe: Recipe, state: dict[str, Any], accept: bool) -> list[tuple[Level, str]]:
    """What to say of a run of `recipe` that goes on from the `state` of a checkpoint, with its level.

    Threads are restored. With `accept`, groups whose data rows have changed leave the plan's state.
    Raises Changed without `accept` when data, code or models would silently change what is learned.
    """
    phases = list(recipe.phases.items())
    if state["phase"] >= len(phases):
        return []
    faults = code_changes(state["code"], code(recipe))
    # data of earlier phases is read no more, and that of the present one is compared row by row
    begun = [name for name, _ in phases[: state["phase"] + ("plan" in state)]]
    read = {f"phases.{name}.plan.data" for name in begun}
    known = {option: was for option, was in state["sources"].items() if option not in read}
    faults += source_changes(known, sources(recipe))
    others: list[int] = []
    if "plan" in state:
        name, phase = phases[state["phase"]]
        faults += data_changes(name, phase.plan.data, state["data"])
        others = other_rows(phase.plan.data, state["data"]["held"]) if faults else []
    if faults and not accept:
        raise Changed(faults)
    if others:
        state["plan"] = without(state["plan"], others)
        faults[-1] += "; these rollouts are dropped"
    before = state["surroundings"]
    notes = [words for words in (restored_threads(before), differing(before)) if words]
    return [*(("warn", words) for words in faults), *(("note", words) for words in notes)]
