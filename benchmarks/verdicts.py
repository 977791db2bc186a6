"""A language policy trained with few verdicts: chosen by the judge `one_sided`, or as many at random.

the recipe one_sided at a price that pays for about half of the verdicts, and the same recipe with each
verdict paid for by a coin whose odds are the share the judge paid for with that seed. Held-out sampled
accuracy after both, their difference with a 95 % interval over seeds, and the verdicts spent.
    python benchmarks/verdicts.py [--seeds 3] [--price 0.5] [--runs DIR]
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.claims.intervals import interval
from engine import hardware
from oneloop.core.rollouts import Rollouts
from oneloop.judge.one_sided import OneSided
from oneloop.recipe.recipe import load_recipe
from oneloop.run.record import read_lines
from oneloop.run.run import Run
from quickstart import accuracies

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "verdicts.json"


class AtRandom(OneSided):
    """Pays for a share `explore` of the rollouts, all equally likely."""

    def _propensities(self, rollouts: Rollouts) -> tuple[Any, torch.Tensor]:
        decisions, _ = super()._propensities(rollouts)
        share = torch.full((len(rollouts),), self.explore, dtype=torch.float64)
        return np.zeros_like(decisions), share


def trained(seed: int, judge: dict[str, Any], directory: Path) -> dict[str, float]:
    """Accuracy and verdicts of the recipe with `judge` at `seed`."""
    changes = [f"seed={seed}", f"phases.one_sided.judge={json.dumps([judge])}"]
    recipe, _ = load_recipe("one_sided", changes)
    Run(recipe, directory).train()
    found: dict[str, float] = {"verdicts": 0.0, "rollouts": 0.0, **accuracies(directory)}
    for line in read_lines(directory / "metrics.jsonl"):
        if line["kind"] == "step" and line["phase"] == "one_sided":
            found["rollouts"] += line["rollouts/judged"]
            found["verdicts"] += line["rollouts/judged"] - line["judge/one_sided/none"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--price", type=float, default=0.5)
    parser.add_argument("--runs", type=Path, default=None)
    given = parser.parse_args()
    parent = given.runs or Path(tempfile.mkdtemp())
    runs = []
    for seed in range(given.seeds):
        options = {"judge": "verifier", "worth": "surprise", "price": given.price}
        chosen = trained(seed, {"one_sided": options}, parent / f"chosen-{seed}")
        share = chosen["verdicts"] / chosen["rollouts"]
        coin = {f"{__file__}:AtRandom": {"judge": "verifier", "explore": share}}
        runs.append({"chosen": chosen, "random": trained(seed, coin, parent / f"random-{seed}")})
        print(json.dumps(runs[-1]), flush=True)
    after = np.array([[run[how]["after one_sided sampled"] for how in ("chosen", "random")] for run in runs])
    result = {"chosen": after[:, 0], "random": after[:, 1], "difference": after[:, 0] - after[:, 1]}
    RESULT.write_text(
        json.dumps({"hardware": hardware(), "price": given.price, "runs": runs}, indent=1) + "\n"
    )
    for name, values in result.items():
        mean, low, high = interval(values.tolist())
        print(f"verdicts {name}: {mean:.3f} ({low:.3f} to {high:.3f}) over {len(values)}")


if __name__ == "__main__":
    main()
