"""A run: the phases of a recipe one after the other, in a directory that survives a kill at any instant.

    recipe.yaml  environment.json  metrics.jsonl  rollouts/*.parquet  held_out/*.parquet  checkpoint-N/
    journal/  report.html  writer.lock

`Run.train` either starts or, in a directory that holds a checkpoint, continues to the bit.
"""

import gc
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from oneloop.core.costs import exhausted
from oneloop.core.destinations import check_folder
from oneloop.core.identity import identity
from oneloop.core.memory import give_back
from oneloop.core.rollouts import Rollouts
from oneloop.judge.isolated import isolation_notice
from oneloop.parallel.ranks.held import layout
from oneloop.parallel.ranks.world import Alone, World
from oneloop.recipe import text
from oneloop.recipe.anew import anew
from oneloop.recipe.recipe import Recipe
from oneloop.report.doctor import Finding
from oneloop.run.active_phase import ActivePhase, needs_reference
from oneloop.run.checkpoint import read_checkpoint
from oneloop.run.evaluator import Evaluator
from oneloop.run.gallery import Gallery, due
from oneloop.run.log import Log
from oneloop.run.memory.estimate import demands
from oneloop.run.overlap import overlap
from oneloop.run.preflight import afforded, left_out, preflight
from oneloop.run.progress import Show
from oneloop.run.record import write_rollouts
from oneloop.run.resuming import extended
from oneloop.run.samplers import on_ray
from oneloop.run.stopping import Stopping
from oneloop.run.trackers import require
from oneloop.run.writer import Writer

SHOWN = 3
"""Judge errors shown of each step; all of them are in the Parquet files and counted in the metrics."""


class PartQuit(RuntimeError):
    """A part called `sys.exit`."""


class Run:
    """Trains `recipe` in `directory`, which is this object's alone until `train` ends.

    Raises FileExistsError when that holds a run and `resume` is off, InUse when another run writes there,
    Unwritable when nobody can.
    """

    def __init__(
        self,
        recipe: Recipe,
        directory: Path,
        resume: bool = False,
        show: Show | None = None,
        accept_changes: bool = False,
        world: World | None = None,
    ):
        self.recipe = recipe = anew(recipe)  # plans, judges and data keep what they hold of a run
        self.directory, self.show = directory, show or Show()
        self.world: World = world or Alone()
        self.world.agree("recipe", identity(text.written(recipe)))
        self.world.first(self._look)
        # what cannot be opened leaves no directory behind
        self.policy: Any = None if (directory / "recipe.yaml").exists() else self._open()
        self.accept_changes = accept_changes
        """Whether to resume although data or code of the recipe changed after the checkpoint."""
        self.writer = Writer(recipe, directory, self.show, self.world)
        changed = self.writer.claim(resume)
        self.log = Log(recipe, directory, self.show, self.world)
        self.report = "none yet"
        """Path of the report, or why there is none."""
        self._resumed: dict[str, Any] | None = None
        for sentence in changed:
            self.show.says(sentence)

    def _look(self) -> None:
        """Looks at what the run is made of, before anything is written."""
        recipe = self.recipe
        check_folder(self.directory)
        require(recipe.trackers)
        preflight(recipe)
        afforded(recipe, recipe.outline)
        for note in recipe.outline.notes(demands(recipe)):
            self.show.finding("note", note)
        for note in left_out(recipe, recipe.outline):
            self.show.finding("warn", note)
        if seen := overlap(recipe):
            self.show.finding("note", seen)

    @property
    def history(self) -> Sequence[dict[str, Any]]:
        """Metrics of every step so far."""
        return self.log.history

    @property
    def findings(self) -> list[Finding]:
        """What the signal doctor has said of the run."""
        return self.log.findings

    def train(self) -> Path:
        """Runs all phases, writes the report and returns the directory, also of a run that stops early.

        Raises Alarm or what a stage raised; resume goes on. Raises PartQuit in place of SystemExit, so that
        a run that did not end is never taken for one that did.
        """
        try:
            self._train()
        except KeyboardInterrupt:  # a second signal ends the report, too
            self.report = self.writer.close()
            raise
        except SystemExit as error:
            self._close()
            raise PartQuit(f"a part of the recipe ended the run with sys.exit({error.code})") from error
        except BaseException:
            self._close()
            raise
        self._close()
        return self.directory

    def _close(self) -> None:
        """Writes the report, which a first signal lets end, and lets the directory go."""
        with Stopping(self.show.says, "once the report is written") as stop:
            self.report = self.writer.close()
        if stop.came is not None:
            stop.carry_out(stop.came)

    def _train(self) -> None:
        self.policy = self.policy or self._open()
        self._lay()
        if saved := self.writer.newest():
            self._resumed = extended(read_checkpoint(saved, self.policy), self.recipe)
        self.evaluator = Evaluator(self.recipe, self.policy, self.log)
        first = 0
        if self._resumed:
            first = self._resumed["phase"]
            self.evaluator.recall(self.log.load_state_dict(self._resumed, self.accept_changes))
            over = list(self.recipe.phases)[:first]
            self.writer.verify(self.log.step, over, self.accept_changes)
            self.show.says(f"resuming after step {self.log.step}")
        self._made_with = self.writer.compare(self._resumed, self.history, self.accept_changes)
        self.writer.drop_rollouts(self.log.step)
        self.log.open()
        self.policy.progress = self.show.tokens
        self.gallery = Gallery(self.recipe, self.policy, self.directory)
        if told := isolation_notice(self._judges):
            self.show.finding("warn", told)
        with self.show.running({name: phase.steps for name, phase in self.recipe.phases.items()}):
            for name in list(self.recipe.phases)[first:]:
                with Stopping(self.show.says) as stop:
                    self._run_phase(name, stop)
        end = {"phase": list(self.recipe.phases)[-1], "step": self.log.step}
        self.log.metrics.write(kind="summary", **end, **self.log.costs.metrics)

    def _open(self) -> Any:
        """The policy with its weights."""
        gc.collect()  # the model of a run before may be left in a circle of references
        return self.recipe.policy.open()

    def _lay(self) -> None:
        """Refuses, before anything is sampled, what cannot be done on so many ranks."""
        size, ahead = self.world.size, self.recipe.runtime.ahead
        learners = {name: phase.learner for name, phase in self.recipe.phases.items()}
        laid = {name: layout(self.policy, each.parallel, size) for name, each in learners.items()}
        found = set(laid.values()) - {None}
        if found and ahead:
            raise ValueError(f"runtime.ahead: {ahead} needs one rank, but this run has {size}; take 0")
        if found:
            self.show.says(f"{size} ranks: {', '.join(sorted(str(each) for each in found))}")
        solved = [name for name, how in laid.items() if how == "plan" and learners[name].plan is None]
        if solved:
            self.show.says(f"planning {', '.join(solved)}; a file from `oneloop plan --json` saves the time")

    @property
    def _judges(self) -> list[Any]:
        """Every judge of the recipe, of its phases and of its evaluation."""
        own = [judge for phase in self.recipe.phases.values() for judge in phase.judge]
        return [*own, *(self.recipe.evaluate.judge if self.recipe.evaluate else ())]

    # one phase

    def _run_phase(self, name: str, stop: Stopping) -> None:
        folder = self.directory / "journal" / name
        warn = partial(self.show.finding, "warn")
        active = ActivePhase(self.recipe, name, self.policy, folder, warn, self.world)
        state, self._resumed = self._resumed, None
        if state is None and active.index == 0:
            self.evaluator.evaluate(name, "before")
            self._draw(name)
        if state is not None and "plan" in state:
            active.load_state_dict(state)
        elif needs_reference(active.phase):  # a phase in progress has its own, from the checkpoint
            self.policy.keep_reference()
        try:
            if state is not None and state.get("steps"):  # it goes on where it once ended
                self._between(active)
            if told := on_ray(self.recipe, name):
                self.show.says(told)
            self._steps(active, stop)
            active.finish()
        except Exception as error:
            active.journal.blame(error)
            raise
        finally:
            active.close()
        extend = {**active.state_dict(), "steps": active.phase.steps, **self.log.metrics.state_dict()}
        piles = active.plan.piles
        held = [*piles.judged(), *piles.take_refused(), *piles.unfinished]
        self._write_rollouts(f"held-{name}", name, [(piece, False) for piece in held])
        self.evaluator.evaluate(name, "after")
        self._save({"phase": active.index + 1, "extend": extend})
        self._stop_if_wanted(stop)

    def _steps(self, active: ActivePhase, stop: Stopping) -> None:
        log, piles, learner = self.log, active.plan.piles, active.learner
        batches, began = active.steps(), log.spent_before(active.name)
        while not self.world.first(lambda: exhausted(active.phase.budget, log.costs.spent, began)):
            log.costs.start(self.policy.meter)
            batch, seconds = next(batches, (None, {}))
            if batch is None:
                return
            log.step += 1
            log.costs.add(batch, piles, self.policy, seconds["step_time"])
            head = {"kind": "step", "phase": active.name, "step": log.step, "phase_step": active.done}
            values = head | active.measured(batch) | log.costs.metrics | seconds
            pieces = [(batch, True), *((group, False) for group in piles.take_refused())]
            self._write_rollouts(f"step-{log.step:06d}", active.name, pieces)
            self.show.drew(batch)
            log.write_step(values)
            active.journal.settled()
            for notice in [*learner.notices, *batch.facts.get("judge_errors", [])[:SHOWN]]:
                self.show.finding("note", notice)
            learner.notices.clear()
            self._between(active)
            if active.done < active.phase.steps:  # at its end the phase has a checkpoint of its own
                self._stop_if_wanted(stop, active)

    def _stop_if_wanted(self, stop: Stopping, active: ActivePhase | None = None) -> None:
        """After a signal saves what is in progress and stops, on all ranks at the same step."""
        number = self.world.first(lambda: stop.came)
        if number is None:
            return
        if active is not None:
            state = active.state_dict()
            stop.in_time()
            self._save(state | {"passing": True})
        self.show.says(f"stopping after step {self.log.step}, which checkpoint-{self.log.step} holds")
        stop.carry_out(number)

    def _between(self, active: ActivePhase) -> None:
        """Evaluation, checkpoint and images that are due after a step, unless it is the last of the phase."""
        done, steps = active.done, active.phase.steps
        every = self.recipe.evaluate.every if self.recipe.evaluate else 0
        if due(done, steps):
            self._draw(active.name)
        if every and done % every == 0 and done < steps:
            active.settle()  # the evaluation has the same judges
            self.evaluator.evaluate(active.name, "during")
        if self.log.step % self.recipe.save_every == 0 and done < steps:
            self._save(active.state_dict())

    def _write_rollouts(self, file: str, phase: str, pieces: list[tuple[Rollouts, bool]]) -> None:
        if not self.writer.writes:
            return
        path = self.directory / "rollouts" / f"{file}.parquet"
        write_rollouts(path, pieces, self.log.step, phase, lambda tokens: self.policy.decode(tokens))

    def _draw(self, phase: str) -> None:
        """Images of the present weights, by the rank that writes."""
        if self.writer.writes:
            self.gallery.draw(phase, self.log.step)

    def _save(self, phase: dict[str, Any]) -> None:
        """Saves the policy, the log and the state of the `phase` in progress."""
        self.writer.save(self.policy, self.log, {**phase, **self._made_with})
        give_back()
