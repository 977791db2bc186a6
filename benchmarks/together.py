"""Five papers together: GRPO, each part alone and all of them at equal sampled tokens; and what parts cost.

All start from one warm-started model, on sums of eight steps, and sample as many tokens; they differ in the
parts that the recipe everything names. The ranking is `oneloop compare`'s: runs interleaved over seeds,
paired intervals.
    overhead: a GRPO step with every part there and set to do nothing, over a plain GRPO step, interleaved
    python benchmarks/together.py [--seeds 3] [--tokens 250000] [--only overhead]"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from oneloop.core.rollouts import Rollouts
from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.recipe.recipe import Recipe, load_recipe
from oneloop.recipe.text import shipped
from oneloop.run.compare import CompareOptions, compare
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.update.learner import Learner

RECIPE = shipped()["everything"]
PLAIN: dict[str, Any] = {
    "count": {"uniform": {"n": 16}},
    "in_flight": None,
    "keep": None,
}
ONLY: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "grpo": ((), {"credit": ["group_relative"], "select": []}),
    "planner": (("count",), {"credit": ["group_relative"], "select": []}),
    "partial": (("in_flight",), {"credit": ["group_relative"], "select": []}),
    "sharpening": ((), {"credit": ["group_relative", "novelty"], "select": []}),
    "capo": (("keep",), {"credit": ["token_level"], "select": []}),
    "d3s": ((), {"credit": ["group_relative"]}),
    "everything": (("count", "in_flight", "keep"), {}),
}
"""For each arm the plan slots and the phase's fields that it takes from the recipe."""


def arms(model: str) -> dict[str, dict[str, Any]]:
    """{name: recipe} of one phase, which start from `model`."""
    whole = yaml.safe_load(RECIPE.read_text())
    phase = whole["phases"]["everything"]
    found = {}
    for name, (slots, fields) in ONLY.items():
        own = copy.deepcopy(phase) | copy.deepcopy(fields) | {"steps": 1000}
        own["plan"] |= {slot: value for slot, value in PLAIN.items() if slot not in slots}
        own["learner"] |= {"schedule": "constant"}
        policy = {"language": {"model": model, "max_new_tokens": 60}}
        found[name] = {"policy": policy, "evaluate": whole["evaluate"], "name": name, **own}
    return found


def ranking(seeds: int, tokens: int, folder: Path) -> list[dict[str, Any]]:
    """Rows of the comparison, best sampled accuracy first."""
    warm = yaml.safe_load(RECIPE.read_text())
    warm["phases"].pop("everything")
    warm.pop("evaluate")
    rows = compared(arms(warm_start(warm, folder)), CompareOptions(seeds, tokens), folder, "runs")
    return sorted(rows, key=lambda row: -(row["sampled"]["score"][0] or 0))


def warm_start(recipe: dict[str, Any], folder: Path) -> str:
    """Folder of the model that `recipe` ends with, in `folder`; it is trained where it is not there yet."""
    made = (folder / "warm" / "warm-start").resolve()
    if not made.exists():
        run = Run(load_recipe(recipe)[0], folder / "warm", resume=True, show=Show(quiet=True))
        run.train()
        run.policy.save(made)
    return str(made)


def compared(
    recipes: dict[str, dict[str, Any]], options: CompareOptions, folder: Path, runs: str
) -> list[dict[str, Any]]:
    """Rows of the comparison of `recipes` {name: recipe}, written to `folder`; runs go to `folder`/`runs`."""
    sources = [folder / f"{name}.yaml" for name in recipes]
    for source, recipe in zip(sources, recipes.values(), strict=True):
        source.write_text(yaml.safe_dump(recipe, sort_keys=False))
    rows: list[dict[str, Any]] = compare(sources, [], options, folder / runs, say)["recipes"]
    return rows


def say(title: str) -> Show:
    """What a run draws on: its title alone."""
    print(title, flush=True)
    return Show(quiet=True)


NEUTRAL: dict[str, Any] = {
    "credit": [{"token_level": {"process_weight": 0}}, {"novelty": {"weight": 0}}],
    "select": [
        {"subset": {"share": {"start": 1.0, "end": 1.0}}},
        {"top_tokens": {"share": {"start": 1.0, "end": 1.0}}},
        {"stale": {"max_age": 1000}},
    ],
}
"""Every part there, each at the setting that changes nothing."""


def ones(completions: list[str], **columns: Any) -> list[float]:
    """A reward that an untrained policy earns in different amounts, so that both arms train on all tokens."""
    return [float(text.count("1")) for text in completions]


def steps(recipe: Recipe, policy: Any, count: int) -> Iterator[Rollouts]:
    phase = recipe.phases["train"]
    phase.plan.begin(0, count)
    learner = Learner(policy, phase.objective, phase.learner, count)
    parts = [*phase.credit, *phase.select]
    return Loop(phase.plan, policy.sample, Judging(phase.judge), parts, learner).run(count)


def overhead(repeats: int) -> list[float]:
    """Ratios of two neutral steps over two plain steps, in turns, from the same policy."""
    whole = yaml.safe_load(RECIPE.read_text())
    phase = copy.deepcopy(whole["phases"]["everything"])
    phase["plan"] |= PLAIN
    phase |= {"steps": 1000, "learner": {"learning_rate": 1e-9}}
    phase["judge"] = [*phase["judge"], {"function": {"path": ones}}]
    plain = phase | {"credit": ["group_relative"], "select": []}
    policy = load_recipe({"policy": whole["policy"], **plain})[0].policy.open()
    makers = [
        steps(load_recipe({"policy": whole["policy"], **one})[0], policy, 1000)
        for one in (phase | NEUTRAL, plain)
    ]
    for maker in makers:
        next(maker)
    ratios = []
    for _ in range(repeats):
        times = [0.0, 0.0]
        for one in (0, 1, 1, 0):  # both sample the same, and who goes first pays for shapes not met before
            start = time.perf_counter()
            next(makers[one])
            times[one] += time.perf_counter() - start
        ratios.append(times[0] / times[1])
    return sorted(ratios)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--tokens", type=int, default=250_000)
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--run", type=Path, default=Path("runs/together"), help="continued if it is there")
    options.add_argument("--only", choices=("ranking", "overhead"))
    chosen = options.parse_args()
    target = Path(__file__).parent / "results" / "together.json"
    results = json.loads(target.read_text()) if target.exists() else {}
    if chosen.only != "overhead":
        results["ranking"] = ranking(chosen.seeds, chosen.tokens, chosen.run)
        for row in results["ranking"]:
            mean, low, high = row["sampled"]["score"]
            print(f"{row['recipe']:12s} {mean:.3f} ({low:.3f}-{high:.3f}), spent {row['spent']}")
    if chosen.only != "ranking":
        torch.set_num_threads(2)
        results["overhead"] = ratios = overhead(chosen.repeats)
        quartiles = statistics.quantiles(ratios, n=4)
        print(f"overhead: {quartiles[1]:.3f} ({quartiles[0]:.3f}-{quartiles[2]:.3f}) over {len(ratios)}")
    target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
