"""Recipes: a YAML file (or a dict) that names the parts of each stage, checked whole before anything runs.

    policy:    {language: {model: Qwen/Qwen3-0.6B, max_new_tokens: 512}}
    plan:      {data: {reasoning: {task: chain_sum}}, groups: 8, count: {uniform: {n: 8}}}
    judge:     [verifier]
    credit:    [group_relative]
    objective: [policy_gradient]

is a whole recipe. One with several phases (a warm start, then reinforcement) has the lines from `plan` on
under `phases: {name: ...}`. All faults are reported at once, each with its path and the nearest valid name.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from oneloop.checks import check_phase
from oneloop.learner import Learning
from oneloop.overrides import accept_aliases, set_path
from oneloop.part import Of, Options, faults, part, to_recipe
from oneloop.plan.plan import Plan


class RecipeError(ValueError):
    """All faults of a recipe, one sentence each in `faults`."""

    def __init__(self, faults: Sequence[str]):
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


@part()
class Phase:
    """One loop: its stages and how many steps it takes."""

    plan: Annotated[Plan, Options(Plan)]
    """What to try."""
    objective: Annotated[tuple[Annotated[Any, Of("objective")], ...], Field(min_length=1)]
    """What to minimise; several are added."""
    judge: tuple[Annotated[Any, Of("judge")], ...] = ()
    """How good it was; several are added by weight."""
    credit: tuple[Annotated[Any, Of("credit")], ...] = ()
    """Which action earned it."""
    select: tuple[Annotated[Any, Of("select")], ...] = ()
    """What to learn from."""
    learner: Annotated[Learning, Options(Learning)] = dataclasses.field(default_factory=Learning)
    """Optimiser, schedule, micro-batches."""
    sample: Literal["policy", "demonstrations"] = "policy"
    """Where candidates come from: the policy, or the data's `completion` column."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Batches to learn from."""


@part()
class Evaluation:
    """Held-out accuracy, before and after each phase and every so many steps."""

    data: Annotated[Any, Of("data")]
    """Held-out rows."""
    judge: tuple[Annotated[Any, Of("judge")], ...] = ()
    """Who scores; none: the judges of the phase, or of the first phase that has any."""
    size: Annotated[int, Field(ge=1)] = 256
    """Rows used, from the first."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Rollouts per row when sampling."""
    every: Annotated[int, Field(ge=0)] = 0
    """Also every so many steps; 0: only before and after."""


@part()
class Recipe:
    """A whole run: the policy, its phases, and what is written down."""

    policy: Annotated[Any, Of("policies")]
    """The thing being trained."""
    phases: dict[str, Annotated[Phase, Options(Phase)]]
    """Loops that run one after the other on the same policy."""
    name: str = "run"
    """Names the run directory."""
    paper: str = ""
    """What the recipe reproduces."""
    seed: int = 0
    """Everything random follows from it."""
    evaluate: Annotated[Evaluation, Options(Evaluation)] | None = None
    """Held-out evaluation."""
    save_every: Annotated[int, Field(ge=1)] = 50
    """Steps between checkpoints."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Older checkpoints are deleted."""
    stop_on_alarm: bool = True
    """Stop when the signal doctor raises an alarm (log-prob gap, weight sync absent)."""


def load_recipe(
    source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()
) -> tuple[Recipe, list[str]]:
    """(checked recipe, sentences about accepted aliases) from a YAML file or a mapping.

    `overrides` are `path=value` with dots, later ones win. Raises RecipeError with every fault found.
    """
    raw = read_yaml(Path(source)) if isinstance(source, Path | str) else dict(source)
    notes, problems = accept_aliases(raw), list[str]()
    for override in overrides:
        problems += set_path(raw, override, notes)
    if isinstance(source, Path | str):
        raw.setdefault("name", Path(source).stem)
    recipe = build_recipe(fold_phase(raw), problems)
    return recipe, notes


def build_recipe(raw: dict[str, Any], problems: list[str]) -> Recipe:
    """The recipe `raw` describes; raises RecipeError with `problems` and all further faults."""
    try:
        recipe = Recipe(**{str(key): value for key, value in raw.items()})
    except ValidationError as error:
        raise RecipeError([*problems, *faults(error, "recipe", Recipe)]) from None
    for name, phase in recipe.phases.items():
        problems += check_phase(name, phase, recipe)
    if problems:
        raise RecipeError(problems)
    return recipe


def fold_phase(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe whose stages stand at the top has one phase, `train`."""
    fields = {field.name for field in dataclasses.fields(Phase)}
    top = {key: value for key, value in raw.items() if key in fields}
    if not top or "phases" in raw:
        return dict(raw)
    rest = {key: value for key, value in raw.items() if key not in fields}
    return {**rest, "phases": {"train": top}}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; RecipeError when there is none."""
    try:
        loaded = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RecipeError([f"cannot read the recipe {path}: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError([f"{path} is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(loaded, dict):
        raise RecipeError([f"{path} must hold a mapping (policy, plan, ...), got {type(loaded).__name__}"])
    return {str(key): value for key, value in loaded.items()}


def resolved(recipe: Recipe) -> str:
    """YAML that gives the same recipe again, every option written out."""
    (body,) = to_recipe(recipe).values()
    body["phases"] = {name: next(iter(phase.values())) for name, phase in body["phases"].items()}
    text: str = yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
    return text
