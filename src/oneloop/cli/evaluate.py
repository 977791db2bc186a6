"""What `oneloop eval` does: a model, some held-out rows, a judge; accuracy, pass@k and maj@k with intervals.

What is measured comes from a recipe's `evaluate` section (the run's own, or one that is given), from
`--task` (any reasoning-gym task) or `--data` (a file or a hub data set) and `--judge`; options win.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oneloop.core.storage import replace_file
from oneloop.judge.stage import Judging
from oneloop.recipe.recipe import Recipe, RecipeError, load_recipe
from oneloop.run.checkpoint import locate
from oneloop.run.evaluation import evaluate, scorers
from oneloop.run.progress import closing_table

HELD_OUT = 1000
"""Seed of the rows of `--task`: not that of a recipe's training rows, which is small."""


@dataclass(frozen=True)
class Asked:
    """What the command line says besides a recipe; None or "" where it says nothing."""

    task: str = ""
    data: str = ""
    judge: str = ""
    size: int | None = None
    samples: int | None = None
    max_new_tokens: int | None = None
    temperature: float | None = None
    out: Path | None = None

    @property
    def overrides(self) -> list[str]:
        """The same as overrides of a recipe."""
        if self.task and self.data:
            raise ValueError(f"give --task or --data, got both '{self.task}' and '{self.data}'")
        words = []
        if self.task:
            words.append(f"evaluate.data={{reasoning: {{task: {json.dumps(self.task)}, seed: {HELD_OUT}}}}}")
        if self.data:
            words.append(f"evaluate.data={{hub: {{path: {json.dumps(self.data)}}}}}")
        judge = self.judge or ("reasoning_gym" if self.task else "exact" if self.data else "")
        if judge:
            words.append(f"evaluate.judge=[{json.dumps(judge_of(judge))}]")
        limits = {
            "evaluate.size": self.size,
            "evaluate.samples": self.samples or (8 if self.task or self.data else None),
        }
        limits |= {"policy.language.max_new_tokens": self.max_new_tokens}
        limits |= {"policy.language.temperature": self.temperature}  # type: ignore[dict-item]
        return [*words, *(f"{path}={value}" for path, value in limits.items() if value is not None)]


def judge_of(name: str) -> Any:
    """What a recipe says for `--judge`: a verifier by its kind, a reward function by its path, or a part."""
    if name in ("reasoning_gym", "math", "exact"):
        return {"verifier": {"by": name}}
    return {"function": {"path": name}} if ":" in name else name


def evaluate_model(
    model: str, sources: Sequence[Path], overrides: Sequence[str], asked: Asked, console: Console
) -> list[dict[str, Any]]:
    """Prints, writes to `asked.out` and returns what was measured, greedy and sampled.

    Raises ValueError or RecipeError where it is not said what to measure, or how.
    """
    folder, beside = locate(model)
    if len(sources) > 1:
        raise ValueError(f"eval takes one recipe, got {', '.join(map(str, sources))}")
    source = sources[0] if sources else beside
    if source is None and not (asked.task or asked.data):
        raise ValueError(
            f"say on what to measure '{model}': --task, --data, or a recipe with an `evaluate` section"
        )
    recipe = measuring(folder, source, [*asked.overrides, *overrides], console)
    spec = recipe.evaluate
    if spec is None:
        raise RecipeError(["recipe.evaluate: is required to evaluate a model"])
    judges = spec.judge or next(phase.judge for phase in recipe.phases.values() if phase.judge)
    policy = with_model(recipe.policy, folder).open()
    judging, found = Judging(scorers(judges)), []
    for mode in ("greedy", "sampled"):
        values = evaluate(policy, judging, spec.data, spec.size, spec.samples, recipe.seed, mode)
        found.append({"when": "", "phase": folder, "step": 0, **values})
    console.print(closing_table(found))
    if "pass_at" in found[-1]:
        console.print(at_k_table(found[-1]))
    if asked.out:
        replace_file(asked.out, json.dumps({"model": folder, "measured": found}, indent=1) + "\n")
        console.print(f"written: {asked.out}", markup=False, highlight=False)
    return found


def measuring(folder: str, source: Path | None, overrides: Sequence[str], console: Console) -> Recipe:
    """The recipe that says how to measure; without a `source` one that only measures, by a language model."""
    bare = {
        "policy": {"language": {"model": folder}},
        "plan": {"data": {"rows": {"rows": [{"prompt": "", "completion": ""}]}}},
        "sample": "demonstrations",
        "objective": ["supervised"],
    }
    recipe, notes = load_recipe(source or bare, overrides)
    for note in notes:
        console.print(f"accepted {note}", markup=False, highlight=False)
    return recipe


def at_k_table(values: dict[str, Any]) -> Table:
    """pass@k and maj@k of one evaluation."""
    drawn = Table(title="of k sampled answers (95 % bootstrap intervals over rows)", title_justify="left")
    drawn.add_column("k", justify="right")
    kinds = [("pass_at", "one is right (pass@k)"), ("maj_at", "most agree on a right one (maj@k)")]
    kinds = [(key, title) for key, title in kinds if key in values]
    for _, title in kinds:
        drawn.add_column(title, justify="right")
    for k in values["pass_at"]:
        cells = ("{:.1f} % ({:.1f} to {:.1f})".format(*(100 * x for x in values[key][k])) for key, _ in kinds)
        drawn.add_row(k, *cells)
    return drawn


def with_model(policy: Any, folder: str) -> Any:
    """The same policy with other weights; adapters come with the folder."""
    if not hasattr(policy, "model"):
        raise ValueError(f"a policy of kind {type(policy).__name__} has no model to replace by '{folder}'")
    options = {"model": folder} | ({"lora": None} if hasattr(policy, "lora") else {})
    return dataclasses.replace(policy, **options)
