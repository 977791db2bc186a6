"""Images of the same prompts from the same noise, made at several points of training.

    gallery/step-000120.parquet     up to PICTURES images after 120 steps, each with its prompt and score

For policies that make images. The rows are the first that an evaluation would take, and the draws are those
of its greedy mode, so the last pictures of a run are among those its last accuracy was measured on.
"""

from pathlib import Path
from typing import Any

from oneloop.core.declared import declared
from oneloop.judge.stage import Judging
from oneloop.recipe.recipe import Recipe
from oneloop.run.evaluation import held_out, scorers
from oneloop.run.record import write_rollouts

PICTURES = 8
"""Most prompts that get an image."""
TIMES = 6
"""Times per phase at which images are made."""


class Gallery:
    """Writes images that `policy` makes into `directory`; does nothing for a policy without images."""

    def __init__(self, recipe: Recipe, policy: Any, directory: Path):
        self.policy, self.directory, self.seed = policy, directory, recipe.seed
        self.wanted = "output" in declared(recipe.policy, "writes")
        phases, spec = list(recipe.phases.values()), recipe.evaluate
        sampled = [phase for phase in phases if phase.sample == "policy"] or phases
        self.data = spec.asked if spec else sampled[0].plan.data
        judges = spec.judge if spec and spec.judge else next((p.judge for p in phases if p.judge), ())
        self.judge = Judging(scorers(judges)) if judges else None

    def draw(self, phase: str, step: int) -> None:
        """Writes the pictures of the present weights, after `step` steps of the run."""
        if not self.wanted:
            return
        asked = held_out(self.data, min(PICTURES, len(self.data)), 1, self.seed)
        with self.policy.greedy():
            finished, _ = self.policy.sample(asked)
        shown = self.judge(finished) if self.judge is not None else finished
        path = self.directory / "gallery" / f"step-{step:06d}.parquet"
        write_rollouts(path, [(shown, False)], step, phase, str)


def due(done: int, steps: int) -> bool:
    """Whether pictures are drawn after `done` of a phase's `steps` steps: TIMES times, the last included."""
    return done * TIMES // steps > (done - 1) * TIMES // steps
