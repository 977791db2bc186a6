"""A run: the phases of a recipe one after the other, in a directory that survives a kill at any instant.

    recipe.yaml  environment.json  metrics.jsonl  rollouts/*.parquet  held_out/*.parquet  checkpoint-N/
    journal/  report.html  writer.lock

`Run.train` either starts or, in a directory that holds a checkpoint, continues to the bit.
"""

from functools import partial
from pathlib import Path
from typing import Any

from oneloop.core.costs import exhausted
from oneloop.core.rollouts import Rollouts
from oneloop.core.storage import set_aside, sweep
from oneloop.judge.isolated import isolation_notice
from oneloop.recipe.recipe import Recipe
from oneloop.report.doctor import Finding
from oneloop.run.active_phase import ActivePhase, needs_reference
from oneloop.run.checkpoint import oldest, reached, read_checkpoint, sound, write_checkpoint
from oneloop.run.checksums import verify
from oneloop.run.directories import claim_directory, report_of
from oneloop.run.evaluator import Evaluator
from oneloop.run.gallery import Gallery, due
from oneloop.run.journal import forget
from oneloop.run.lock import Lock
from oneloop.run.log import Log
from oneloop.run.made_with import begin, compared, made_with
from oneloop.run.memory.estimate import demands
from oneloop.run.merging import cut, merge
from oneloop.run.overlap import overlap
from oneloop.run.preflight import left_out, preflight
from oneloop.run.progress import Show
from oneloop.run.record import write_rollouts
from oneloop.run.resuming import extended
from oneloop.run.trackers import require

SHOWN = 3
"""Judge errors shown of each step; all of them are in the Parquet files and counted in the metrics."""


class PartQuit(RuntimeError):
    """A part called `sys.exit`."""


class Run:
    """Trains `recipe` in `directory`, which is this object's alone until `train` ends.

    Raises FileExistsError when that holds a run and `resume` is off, InUse when another run writes there.
    """

    def __init__(
        self,
        recipe: Recipe,
        directory: Path,
        resume: bool = False,
        show: Show | None = None,
        accept_changes: bool = False,
    ):
        self.recipe, self.directory, self.show = recipe, directory, show or Show()
        require(recipe.trackers)
        preflight(recipe)
        for note in recipe.outline.notes(demands(recipe)):
            self.show.finding("note", note)
        for note in left_out(recipe, recipe.outline):
            self.show.finding("warn", note)
        if seen := overlap(recipe):
            self.show.finding("note", seen)
        # what cannot be opened leaves no directory behind
        self.policy: Any = None if (directory / "recipe.yaml").exists() else recipe.policy.open()
        self.accept_changes = accept_changes
        """Whether to resume although data or code of the recipe changed after the checkpoint."""
        self.lock = Lock(directory, self.show.says)
        try:
            self._changed = claim_directory(directory, recipe, resume)
            sweep(directory)
        except BaseException:
            self.lock.release()
            raise
        self.log = Log(recipe, directory, self.show)
        self.report = "none yet"
        """Path of the report, or why there is none."""
        self._resumed: dict[str, Any] | None = None
        for sentence in self._changed:
            self.show.says(sentence)

    @property
    def history(self) -> list[dict[str, Any]]:
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
        except SystemExit as error:
            raise PartQuit(f"a part of the recipe ended the run with sys.exit({error.code})") from error
        finally:
            try:
                self.report = report_of(self.directory)
            finally:  # somebody may stop the report too
                self.lock.release()
        return self.directory

    def _train(self) -> None:
        self.policy = self.policy or self.recipe.policy.open()
        self._resumed = self._last_checkpoint()
        self.evaluator = Evaluator(self.recipe, self.policy, self.log)
        first = 0
        if self._resumed:
            first = self._resumed["phase"]
            self.evaluator.recall(self.log.load_state_dict(self._resumed, self.accept_changes))
            over = list(self.recipe.phases)[:first]
            for damage in verify(self.directory, self.log.step, over, self.accept_changes):
                self.show.finding("warn", damage)
            self.show.says(f"resuming after step {self.log.step}")
        self._compare()
        cut(self.directory / "rollouts", self.log.step)
        self.log.open()
        self.policy.progress = self.show.tokens
        self.gallery = Gallery(self.recipe, self.policy, self.directory)
        if told := isolation_notice(self._judges):
            self.show.finding("warn", told)
        with self.show.running({name: phase.steps for name, phase in self.recipe.phases.items()}):
            for name in list(self.recipe.phases)[first:]:
                self._run_phase(name)
        end = {"phase": list(self.recipe.phases)[-1], "step": self.log.step}
        self.log.metrics.write(kind="summary", **end, **self.log.costs.metrics)

    @property
    def _judges(self) -> list[Any]:
        """Every judge of the recipe, of its phases and of its evaluation."""
        own = [judge for phase in self.recipe.phases.values() for judge in phase.judge]
        return [*own, *(self.recipe.evaluate.judge if self.recipe.evaluate else ())]

    # one phase

    def _run_phase(self, name: str) -> None:
        folder = self.directory / "journal" / name
        warn = partial(self.show.finding, "warn")
        active = ActivePhase(self.recipe, name, self.policy, folder, warn)
        state, self._resumed = self._resumed, None
        if state is None and active.index == 0:
            self.evaluator.evaluate(name, "before")
            self.gallery.draw(name, 0)
        if state is not None and "plan" in state:
            active.load_state_dict(state)
        elif needs_reference(active.phase):  # a phase in progress has its own, from the checkpoint
            self.policy.keep_reference()
        try:
            if state is not None and state.get("steps"):  # it goes on where it once ended
                self._between(active)
            self._steps(active)
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
        self._checkpoint({"phase": active.index + 1, "extend": extend})

    def _steps(self, active: ActivePhase) -> None:
        log, piles, learner = self.log, active.plan.piles, active.learner
        batches, began = active.steps(), log.spent_before(active.name)
        while not exhausted(active.phase.budget, log.costs.spent, began):
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

    def _between(self, active: ActivePhase) -> None:
        """Evaluation, checkpoint and images that are due after a step, unless it is the last of the phase."""
        done, steps = active.done, active.phase.steps
        every = self.recipe.evaluate.every if self.recipe.evaluate else 0
        if due(done, steps):
            self.gallery.draw(active.name, self.log.step)
        if every and done % every == 0 and done < steps:
            active.settle()  # the evaluation has the same judges
            self.evaluator.evaluate(active.name, "during")
        if self.log.step % self.recipe.save_every == 0 and done < steps:
            self._checkpoint(active.state_dict())

    def _write_rollouts(self, file: str, phase: str, pieces: list[tuple[Rollouts, bool]]) -> None:
        path = self.directory / "rollouts" / f"{file}.parquet"
        write_rollouts(path, pieces, self.log.step, phase, lambda tokens: self.policy.decode(tokens))

    # checkpoint

    def _checkpoint(self, phase: dict[str, Any]) -> None:
        """Saves the policy, the log and the state of the `phase` in progress."""
        state = {**phase, **self._made_with, **self.log.state_dict()}
        self.lock.check()
        self.log.flush()
        recipe, step = self.recipe, self.log.step
        if write_checkpoint(self.directory, step, self.policy, state, recipe.keep_checkpoints):
            forget(self.directory / "journal", list(recipe.phases), *reached(self.directory))
            merge(self.directory / "rollouts", oldest(self.directory))

    def _last_checkpoint(self) -> dict[str, Any] | None:
        """The state of the newest sound checkpoint, its weights loaded; damaged ones are set aside."""
        saved, damaged = sound(self.directory)
        if saved is None:
            return None
        for folder, error in damaged:
            instead = f"going on from {saved.name} (the other is now {set_aside(folder).name})"
            self.show.finding("warn", f"{error}; {instead}")
        return extended(read_checkpoint(saved, self.policy), self.recipe)

    def _compare(self) -> None:
        """Says what has changed since the checkpoint or the start. Raises Changed if it must be accepted."""
        known = self._resumed, self.history, self.accept_changes
        for level, sentence in compared(self.recipe, self.directory, *known):
            if sentence not in self._changed:
                self.show.finding(level, sentence)
        self._made_with = made_with(self.recipe)
        if not self._resumed:
            begin(self.directory, self._made_with)
