"""One phase of a recipe while it runs: its plan, judges, learner and journal, bound into a loop."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from oneloop.core import draws
from oneloop.core.declared import declared
from oneloop.core.identity import fingerprint
from oneloop.core.rollouts import Rollouts
from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.parallel.ranks.divided import annotating, dividing
from oneloop.parallel.ranks.world import Ranks, World
from oneloop.recipe.recipe import Phase, Recipe
from oneloop.run import changes
from oneloop.run.ahead import Ahead
from oneloop.run.journal import Journal
from oneloop.run.metrics import batch_metrics
from oneloop.run.preflight import check_of
from oneloop.run.samplers import beside
from oneloop.run.shared_journal import SharedJournal
from oneloop.update.learner import Learner

IDS = 10**9
"""Rollout and group ids a phase may use up: ids are never used twice in a run."""


class ActivePhase:
    """The phase `name` of `recipe` in progress; the journal is in `folder` and warns by `warn`.

    Iterating over `steps()` trains it. `state_dict` and `load_state_dict` carry it over a resume. All ranks
    of `world` call each of these at once.
    """

    def __init__(
        self, recipe: Recipe, name: str, policy: Any, folder: Path, warn: Callable[[str], None], world: World
    ):
        self.name, self.index, self.policy = name, list(recipe.phases).index(name), policy
        self._world = world
        self.phase: Phase = recipe.phases[name]
        phase, seed = self.phase, int(draws.mix(recipe.seed, "phase", self.index) >> 1)
        self.plan, self.judging = phase.plan, Judging(phase.judge) if phase.judge else None
        check = check_of(policy, phase.sample == "demonstrations")
        held_out = recipe.evaluate.held_out if recipe.evaluate else 0.0
        self.plan.begin(seed, phase.steps, first=self.index * IDS, check=check, held_out=held_out)
        self.plan.meet(policy)
        self._data = list(fingerprint(self.plan.data))
        self.learner = Learner(policy, phase.objective, phase.learner, phase.steps, world)
        self.journal = Journal(folder, policy.meter, warn)
        if self.judging is not None:
            self.judging.begin()
        parts = [*phase.credit, *phase.select]
        sampled = phase.sample == "policy"
        sample = dividing(world, policy) if sampled else policy.demonstrate
        # demonstrations cost nothing: they are read again instead of written down
        kept: Any = self.journal if sampled else None
        if isinstance(world, Ranks):
            kept = SharedJournal(world, self.journal, sampled)
        annotate = annotating(world, policy)
        self.loop = Loop(self.plan, sample, self.judging, parts, self.learner, kept, annotate)
        self._warn = warn
        self._beside = partial(beside, recipe, name, policy, self.judging, warn)
        self._runtime = recipe.runtime if sampled and recipe.runtime.ahead else None
        self._ahead: Ahead | None = None

    @property
    def done(self) -> int:
        """Steps of this phase made so far."""
        return self.plan.piles.step

    def steps(self) -> Iterator[tuple[Rollouts, dict[str, float]]]:
        """(batch, seconds its stages took) after each update; ends early when the data is used up."""
        batches = (self._overlapping() or self.loop).run(self.phase.steps - self.done)
        while True:
            start, before = time.perf_counter(), dict(self.loop.seconds)
            batch = next(batches, None)
            if batch is None:
                if self.done < self.phase.steps:
                    self._warn(
                        f"{self.name} ended after {self.done} of {self.phase.steps} steps: its data is used "
                        f"up (plan.epochs: {self.phase.plan.epochs})"
                    )
                return
            stages = {stage: total - before.get(stage, 0.0) for stage, total in self.loop.seconds.items()}
            took = time.perf_counter() - start
            beside = {} if self._ahead is None else self._ahead.readings(stages, took)
            yield batch, stage_seconds(stages) | {"step_time": took} | beside

    def _overlapping(self) -> Ahead | None:
        """What samples and judges beside the update; None where the recipe wants one after the other."""
        if self._runtime is not None and self._ahead is None:
            self._ahead = Ahead(self.loop, self.journal, self._beside(), self._runtime)
        return self._ahead

    def settle(self) -> None:
        """Waits until nothing is sampled or judged."""
        if self._ahead is not None:
            self._ahead.settle()

    def finish(self) -> None:
        """The last step is over: the plan gets what is still under way."""
        if self._ahead is not None:
            self._ahead.finish()

    def close(self) -> None:
        """Ends what works beside this thread, and the journal."""
        if self._ahead is not None:
            self._ahead.close()
        if self._world.rank == 0:
            self.journal.close()

    def measured(self, batch: Rollouts) -> dict[str, Any]:
        """Metrics of the latest step: of `batch`, of the learner, and of the plan."""
        refused = self.plan.piles.refused
        counts = {
            "groups/refused": len({number for piece in refused for number in piece.group.tolist()}),
            "rollouts/judged": len(batch) + sum(len(piece) for piece in refused if "reward" in piece),
            "rollouts/trained": int((batch.gather(batch.actions.share, "sum") > 0).sum()),
        }
        return {**batch_metrics(batch), **self.learner.metrics, **counts, **self.plan.metrics()}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the phase."""
        self.settle()  # the journal has what is under way
        ahead = {} if self._ahead is None else {"ahead": self._ahead.state_dict()}
        return {
            **ahead,
            "phase": self.index,
            "plan": self.plan.state_dict(),
            "learner": self.learner.state_dict(),
            "asks": self.journal.asks if self._ahead is None else self._ahead.oldest,
            "judges": self.judging.state_dict() if self.judging is not None else [],
            "data": {"fingerprint": self._data, "held": changes.held(self.plan.piles)},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.plan.load_state_dict(state["plan"])
        self.learner.load_state_dict(state["learner"])
        self.journal.asks = state["asks"]
        if self.judging is not None:
            self.judging.load_state_dict(state["judges"])
        if "ahead" in state and (ahead := self._overlapping()) is not None:
            ahead.load_state_dict(state["ahead"])


def needs_reference(phase: Phase) -> bool:
    """Whether some part of the phase reads log-probs or samples of the reference."""
    parts = [*phase.judge, *phase.credit, *phase.select, *phase.objective]
    wanted = {"actions.reference", "reference_output"}
    return any(wanted & set(declared(each, "reads")) for each in parts)


def stage_seconds(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds of one step by stage; stages other than sampling, judging and update are added up."""
    named = {"sample_time": "sample", "judge_time": "judge", "update_time": "update"}
    times = {metric: seconds.get(stage, 0.0) for metric, stage in named.items()}
    if "wait" in seconds:
        times["wait_time"] = seconds["wait"]
    # "answer" is what "sample" and "judge" are parts of
    counted = {*named.values(), "answer", "wait"}
    times["credit_time"] = sum(spent for stage, spent in seconds.items() if stage not in counted)
    return times
