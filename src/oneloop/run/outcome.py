"""What finished runs measured on held-out prompts, read back from their directories to compare them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from oneloop.core.costs import Unit, costs_of
from oneloop.measure.ranking import Ranking, from_long, rank
from oneloop.measure.statistics.comparison import MODES, Point, Trained
from oneloop.measure.statistics.scores import Measure, measures, value
from oneloop.recipe.recipe import Recipe
from oneloop.run.record import read_lines


def measured(directory: Path, recipes: Mapping[str, Sequence[Recipe]]) -> Measure:
    """What the runs are compared by: accuracy, or reward where accuracy was not measured or stood still."""
    runs = [
        directory / f"{name}-seed{seed}" for name, by_seed in recipes.items() for seed in range(len(by_seed))
    ]
    lines = [line for run in runs for line in read_lines(run / "metrics.jsonl") if line["kind"] == "eval"]
    return next(iter(measures(lines)), "accuracy")


def outcome(run: Path, recipe: Recipe, name: str, seed: int, measure: Measure) -> Trained:
    """What of `measure` a finished run measured in its last phase, and what that took."""
    lines, last = read_lines(run / "metrics.jsonl"), list(recipe.phases)[-1]
    steps = [line for line in lines if line["kind"] == "step"]
    earlier = [costs_of(line) for line in steps if line["phase"] != last]
    began: Mapping[Unit, float] = earlier[-1] if earlier else {}
    evaluations = [line for line in lines if line["kind"] == "eval"]
    inside = [line for line in evaluations if line["phase"] == last]
    if not any(line["when"] == "before" for line in inside):  # a later phase starts where another ended
        inside = [line for line in evaluations if line["phase"] != last][-len(MODES) :] + inside
    total = costs_of(lines[-1])
    return Trained(
        name,
        seed,
        final={line["mode"]: line for line in inside if line["when"] == "after" and line["phase"] == last},
        points=[
            Point(line["mode"], _since(costs_of(line), began), found)
            for line in inside
            if (found := value(line, measure)) is not None
        ],
        spent=_since(total, began),
        whole=_since(total, {}),
    )


def _since(total: Mapping[Unit, float], began: Mapping[Unit, float]) -> dict[str, float]:
    return {unit: amount - began.get(unit, 0) for unit, amount in total.items()}


def short_of_budget(
    trained: Mapping[str, Sequence[Trained]], recipes: Mapping[str, Sequence[Recipe]]
) -> list[str]:
    """A sentence for each recipe whose steps, or data, ran out before its budget did."""
    notes = []
    for name, runs in trained.items():
        phase = list(recipes[name][0].phases.values())[-1]
        for unit, most in phase.budget.items():
            shares = [run.spent.get(unit, 0) / most for run in runs]
            if min(shares) < 1:
                notes.append(
                    f"{name} ended after its {phase.steps} steps with {min(shares):.0%} of its {most:g} "
                    f"{unit.replace('_', ' ')} spent, so it was not at the budget: set steps= higher."
                )
    return notes


def held_out_ranking(directory: Path, runs: Sequence[str], measure: Measure) -> Ranking | None:
    """The runs' final models ranked on single held-out prompts, by the mean verdict on their samples."""
    table: dict[str, list[Any]] = {"model": [], "sample_id": [], "score": [], "text": []}
    for run in runs:
        (path,) = (directory / run / "held_out").glob(f"{_last(directory / run)}-{MODES[0]}.parquet")
        rows = pq.read_table(path).to_pylist()
        for key in sorted({row["key"] for row in rows}):
            mine = [row for row in rows if row["key"] == key]
            scores = [row["correct" if measure == "accuracy" else "reward"] for row in mine]
            scores = [score for score in scores if score is not None and score == score]
            if scores:
                table["model"].append(run)
                table["sample_id"].append(f"row {key}")
                table["score"].append(sum(scores) / len(scores))
                table["text"].append(mine[0]["prompt"])
    return rank(from_long(table)) if table["model"] else None


def _last(run: Path) -> str:
    return str(read_lines(run / "metrics.jsonl")[-1]["phase"])
