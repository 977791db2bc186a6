"""Recipes: a YAML file (or a dict) that names the parts of each stage, checked whole before anything runs.

    policy:    {language: {model: Qwen/Qwen3-0.6B, max_new_tokens: 512}}
    plan:      {data: {reasoning: {task: chain_sum}}, groups: 8, count: {uniform: {n: 8}}}
    judge:     [verifier]
    credit:    [group_relative]
    objective: [policy_gradient]

is a whole recipe. One with several phases (a warm start, then reinforcement) has the lines from `plan` on
under `phases: {name: ...}`. All faults are reported at once, each with its path and the nearest valid name.
A top with the stages of one phase is that phase, called `train`.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from oneloop.core.costs import Unit
from oneloop.core.part import Of, Options, part
from oneloop.core.protocols import Data, PolicyOutline
from oneloop.core.rooms import nearest
from oneloop.recipe.aliases import ALIASES, ELSEWHERE, accept
from oneloop.recipe.checks import check_evaluation, check_phase
from oneloop.recipe.faults import faults
from oneloop.recipe.fields import init_fields
from oneloop.recipe.overrides import Misplaced, in_phase, pair_up, place, split
from oneloop.recipe.reading import Raw, RecipeError, read_raw
from oneloop.recipe.runtime import Runtime
from oneloop.sample.data.checked import OnBadRow
from oneloop.sample.data.held_out import HeldOutRows
from oneloop.sample.plan.plan import Plan
from oneloop.update.learner import Learning

Name = Annotated[str, Field(pattern=r"^[\w][\w. -]*$", max_length=100)]
Tracker = Literal["tensorboard", "wandb", "trackio"]


@part()
class Phase:
    """One loop: its stages and how many steps it takes."""

    plan: Annotated[Plan, Options(Plan)]
    """Which prompts to sample, and how often."""
    objective: Annotated[tuple[Annotated[Any, Of("objective")], ...], Field(min_length=1)]
    """Losses to minimise; several are added."""
    judge: tuple[Annotated[Any, Of("judge")], ...] = ()
    """Judges that score rollouts; several are added by weight."""
    credit: tuple[Annotated[Any, Of("credit")], ...] = ()
    """How rewards become an advantage of each action."""
    select: tuple[Annotated[Any, Of("select")], ...] = ()
    """Which rollouts and actions to learn from."""
    learner: Annotated[Learning, Options(Learning)] = dataclasses.field(default_factory=Learning)
    """Optimiser, schedule, micro-batches."""
    sample: Literal["policy", "demonstrations"] = "policy"
    """Where candidates come from: the policy, or the data's `completion` column."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Batches to learn from."""
    budget: dict[Unit, Annotated[float, Field(gt=0)]] = dataclasses.field(default_factory=dict)
    """End the phase after the step in which it has spent this much, such as {sampled_tokens: 250000}."""


@part()
class Evaluation:
    """Held-out accuracy, before and after each phase and every so many steps."""

    data: Annotated[Any, Of("data")]
    """Rows to evaluate on."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all prompts that are asked here alone, each once: rows with such a prompt are left out of
    training, rows with another here. By the hash of the prompt. 0: all of `data`, which you hold out."""
    judge: tuple[Annotated[Any, Of("judge")], ...] = ()
    """Judges that score; empty: those of the phase, or of the first phase that has any."""
    size: Annotated[int, Field(ge=1)] = 256
    """Most rows used, from the first."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Rollouts per row when sampling; greedy decoding always takes one."""
    flops: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Budgets of FLOPs a token at which an elastic policy is measured besides its whole model."""
    every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations inside a phase; 0: only before and after each phase."""
    on_bad_row: OnBadRow = "stop"
    """Whether a row that cannot be read or started from stops the run or is left out."""

    @cached_property
    def asked(self) -> Data:
        """The rows that are asked: those of `data`, or of these what `held_out` holds out."""
        return HeldOutRows(self.data, self.held_out, self.size) if self.held_out else self.data


@part()
class Recipe:
    """A whole run: the policy, its phases, and what is written down."""

    policy: Annotated[Any, Of("policy")]
    """The policy: what is trained and samples."""
    phases: Annotated[dict[Name, Annotated[Phase, Options(Phase)]], Field(min_length=1)]
    """{name: phase}, run one after the other on the same policy."""
    name: Name = "run"
    """Name of the run directory; from a file, by default the file's name."""
    paper: str = ""
    """What the recipe reproduces."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of everything random in the run."""
    evaluate: Annotated[Evaluation, Options(Evaluation)] | None = None
    """Held-out evaluation; None: none."""
    save_every: Annotated[int, Field(ge=1)] = 50
    """Steps between checkpoints."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Newest checkpoints that are kept; older ones are deleted."""
    trackers: tuple[Tracker, ...] = ()
    """Dashboards that get the metrics too: tensorboard, wandb, trackio (each an extra)."""
    runtime: Annotated[Runtime, Options(Runtime)] = dataclasses.field(default_factory=Runtime)
    """Whether and how sampling and judging run beside the update."""
    stop_on_alarm: bool = True
    """Whether an alarm of the signal doctor (log-prob gap, weights out of sync) stops the run."""

    @cached_property
    def outline(self) -> PolicyOutline:
        """The policy without its weights. Raises ValueError: no such model or device, say."""
        outline: PolicyOutline = self.policy.outline()
        return outline

    @cached_property
    def evaluation_judges(self) -> tuple[Any, ...]:
        """Judges of the evaluation: its own, else those of the first phase with any; () without."""
        own = self.evaluate.judge if self.evaluate else ()
        return own or next((phase.judge for phase in self.phases.values() if phase.judge), ())


PHASE_KEYS = init_fields(Phase)
FOLDED = "train"
"""Name of the one phase of a recipe whose stages stand at the top."""


def load_recipe(
    source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()
) -> tuple[Recipe, list[str]]:
    """(checked recipe, sentences about what was taken for what) from a YAML file or a mapping.

    `overrides` are `path=value`, `--path value` or `--path=value` with dots, later ones win; names of other
    trainers are in aliases.py. Raises RecipeError with every fault found.
    """
    raw, problems = read_raw(source)
    folded = "phases" not in raw
    raw = fold_phase(raw) if folded else raw
    notes = _apply(raw, pair_up(list(overrides)), problems, folded)
    _count_demonstrations(raw)
    try:
        return build_recipe(raw, problems, folded), notes
    except RecipeError as error:  # paths as the user wrote them
        unfolded = [re.sub(rf"^recipe\.phases\.{FOLDED}\b", "recipe", fault) for fault in error.faults]
        raise RecipeError(unfolded if folded else error.faults) from None


def fold_phase(raw: Raw) -> Raw:
    """`raw` with stages at the top moved into one phase called `train`."""
    rest = {key: value for key, value in raw.items() if key not in PHASE_KEYS}
    return {**rest, "phases": {FOLDED: {key: raw[key] for key in PHASE_KEYS if key in raw}}}


def _apply(raw: Raw, overrides: list[str], problems: list[str], folded: bool) -> list[str]:
    """Translates other trainers' names in `raw` and applies `overrides`; returns what each one became."""
    notes: list[str] = []
    given: list[tuple[str, Any]] = [(key, raw.pop(key)) for key in list(raw) if key in ALIASES]
    for override in overrides:
        try:
            given.append(split(override))
        except Misplaced as error:
            problems.append(str(error))
    # one that sets both clips comes before one that sets the upper alone
    given.sort(key=lambda pair: -len(ALIASES[pair[0]].paths) if pair[0] in ALIASES else 0)
    for path, value in given:
        if path in ALIASES:
            said, wrong = accept(raw, Recipe, PHASE_KEYS, path, value)
            notes += [note.replace(f"phases.{FOLDED}.", "", 1) for note in said] if folded else said
            problems += wrong
            continue
        full = in_phase(raw, path, PHASE_KEYS)
        try:
            place(raw, Recipe, full, value)
        except Misplaced as error:
            problems.append(f"'{path}': {error}")
        if full != path and not folded:
            notes.append(f"{path} -> {full}")
    return notes


def _count_demonstrations(raw: Raw) -> None:
    """Sets one rollout a group in phases on demonstrations, unless the recipe gives a `count`."""
    phases = raw["phases"].values() if isinstance(raw["phases"], dict) else ()
    for phase in phases:
        if (
            isinstance(phase, dict)
            and phase.get("sample") == "demonstrations"
            and isinstance(phase.get("plan"), dict)
        ):
            phase["plan"].setdefault("count", {"uniform": {"n": 1}})


def build_recipe(raw: Raw, problems: Sequence[str] = (), folded: bool = False) -> Recipe:
    """The recipe `raw` describes; raises RecipeError with `problems` and all further faults."""
    try:
        recipe = Recipe(**raw)
    except ValidationError as error:
        found = faults(error, "recipe", Recipe, lambda name: _hint(name, folded))
        raise RecipeError([*problems, *found]) from None
    checked: list[str] = []
    for name, phase in recipe.phases.items():
        checked += check_phase(f"recipe.phases.{name}", phase, recipe)
    if problems or checked or (checked := check_evaluation("recipe.evaluate", recipe)):
        raise RecipeError([*problems, *checked])
    return recipe


def _hint(name: str, folded: bool) -> str:
    """A hint for the unknown top-level key `name`."""
    if name in PHASE_KEYS:
        return f"it belongs to a phase: phases.<name>.{name}"
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    sections = {"plan": Plan, "learner": Learning, "evaluate": Evaluation}
    deeper = [f"'{section}.{name}'" for section, cls in sections.items() if name in init_fields(cls)]
    if deeper:
        return f"did you mean {' or '.join(deeper)}?"
    return nearest(name, [*init_fields(Recipe), *(PHASE_KEYS if folded else [])], list(ALIASES))
