"""A run: the phases of a recipe one after the other, in a directory that survives a kill at any instant.

    recipe.yaml  environment.json  metrics.jsonl  rollouts/*.parquet  held_out/*.parquet  checkpoint-N/
    journal/  report.html  writer.lock

`Run.train` either starts or, in a directory that holds a checkpoint, continues to the bit.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oneloop.core import draws
from oneloop.core.costs import Costs, costs_of, exhausted
from oneloop.core.identity import fingerprint
from oneloop.core.part import declared
from oneloop.core.rollouts import Rollouts
from oneloop.core.storage import flush, replace_file, set_aside, sweep
from oneloop.judge.isolated import isolation_notice
from oneloop.judge.stage import Judging
from oneloop.loop import Loop
from oneloop.recipe.recipe import Phase, Recipe, resolved
from oneloop.report import RunDirectoryError, write_report
from oneloop.report.doctor import Finding, Watch, fallen
from oneloop.run import changes
from oneloop.run.checkpoint import reached, read_checkpoint, sound, write_checkpoint
from oneloop.run.environment import environment
from oneloop.run.evaluation import answered, measure, pattern_of, scorers
from oneloop.run.gallery import Gallery, due
from oneloop.run.journal import Journal, forget
from oneloop.run.lock import Lock
from oneloop.run.memory.estimate import demands
from oneloop.run.metrics import batch_metrics, json_safe
from oneloop.run.overlap import overlap
from oneloop.run.preflight import check_of, left_out, preflight
from oneloop.run.progress import Show
from oneloop.run.record import Metrics, read_lines, write_held_out, write_rollouts
from oneloop.run.resuming import take_over
from oneloop.run.trackers import require, tracker
from oneloop.update.learner import Learner

IDS = 10**9
"""Rollout and group ids a phase may use up: ids are never used twice in a run."""
SHOWN = 3
"""Judge errors shown of each step; all of them are in the Parquet files and counted in the metrics."""


class PartQuit(RuntimeError):
    """A part called `sys.exit`."""


class Alarm(RuntimeError):
    """The signal doctor stopped the run; the message is its sentence."""


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
        outline = recipe.policy.outline()
        for note in outline.notes(demands(recipe)):
            self.show.finding("note", note)
        for note in left_out(recipe, outline):
            self.show.finding("warn", note)
        if seen := overlap(recipe):
            self.show.finding("note", seen)
        # what cannot be opened leaves no directory behind
        self.policy: Any = None if (directory / "recipe.yaml").exists() else recipe.policy.open()
        self.accept_changes = accept_changes
        """Whether to resume although data or code of the recipe changed after the checkpoint."""
        self.lock = Lock(directory, self.show.says)
        try:
            changed = claim_directory(directory, recipe, resume)
            sweep(directory)
        except BaseException:
            self.lock.release()
            raise
        self.metrics = Metrics(directory / "metrics.jsonl")
        self.step = self.first_phase = 0
        self.costs = Costs()
        self.history: list[dict[str, Any]] = []
        self.said: list[Finding] = []
        self.watch = Watch()
        self.held_out: dict[str, dict[str, Any]] = {}
        """{mode: evaluation} at the beginning of the phase."""
        self.started = time.time()
        self.report = "none yet"
        """Path of the report, or why there is none."""
        self._resumed: dict[str, Any] | None = None
        self._phase_state: Callable[[], dict[str, Any]] = dict
        for sentence in changed:
            self.show.says(sentence)

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
            self._report()
            self.lock.release()
        return self.directory

    def _report(self) -> None:
        """Writes the report; a failure to do so hides nothing that the run itself raises."""
        try:
            self.report = str(write_report(self.directory))
        except RunDirectoryError as error:
            self.report = f"none, {error}"
        except Exception as error:
            self.report = f"none, it could not be written ({type(error).__name__}: {error})"

    def _train(self) -> None:
        self.policy = self.policy or self.recipe.policy.open()
        saved, damaged = sound(self.directory)
        if saved:
            for folder, error in damaged:
                kept = set_aside(folder).name
                self.show.finding("warn", f"{error}; going on from {saved.name} (the other is now {kept})")
            self._resumed = self._extended(read_checkpoint(saved, self.policy))
        self._compare()
        if self._resumed:
            self._restore(self._resumed)
        self.metrics.truncate(self.metrics.lines)
        for board in self.recipe.trackers:
            self.metrics.hooks.append(tracker(board, self.recipe.name, self.directory))
        self.policy.progress = self.show.tokens
        self.gallery = Gallery(self.recipe, self.policy, self.directory)
        phases = list(self.recipe.phases.items())
        if told := isolation_notice(self._judges):
            self.show.finding("warn", told)
        with self.show.running({name: phase.steps for name, phase in phases}):
            for index, (name, phase) in enumerate(phases):
                if index >= self.first_phase:
                    self._run_phase(index, name, phase)
        self.metrics.write(kind="summary", phase=phases[-1][0], step=self.step, **self.costs.metrics)

    @property
    def _judges(self) -> list[Any]:
        """Every judge of the recipe, of its phases and of its evaluation."""
        own = [judge for phase in self.recipe.phases.values() for judge in phase.judge]
        return [*own, *(self.recipe.evaluate.judge if self.recipe.evaluate else ())]

    def _compare(self) -> None:
        """Says what has changed since the checkpoint or the start. Raises Changed if it must be accepted."""
        began = self.directory / "journal" / "made_with.json"
        before = self._resumed
        if before is None and began.exists():
            try:
                before = dict(json.loads(began.read_bytes()))
            except ValueError:
                self.show.finding("warn", f"{began} is damaged: whether code has changed is not known")
        if before:
            for level, sentence in changes.compared(self.recipe, before, self.accept_changes):
                self.show.finding(level, sentence)
        self._made_with = {"surroundings": changes.surroundings(), "code": changes.code(self.recipe)}
        if not self._resumed:
            replace_file(began, json.dumps({"phase": 0, **self._made_with}))

    # one phase

    def _run_phase(self, index: int, name: str, phase: Phase) -> None:
        seed = int(draws.mix(self.recipe.seed, "phase", index) >> 1)
        state, self._resumed = self._resumed, None
        plan, judging = phase.plan, Judging(phase.judge) if phase.judge else None
        check = check_of(self.policy, phase.sample == "demonstrations")
        plan.begin(seed, phase.steps, first=index * IDS, check=check)
        plan.meet(self.policy)
        data = list(fingerprint(plan.data))
        learner = Learner(self.policy, phase.objective, phase.learner, phase.steps)
        sample = self.policy.sample if phase.sample == "policy" else self.policy.demonstrate
        folder = self.directory / "journal" / name
        journal = Journal(folder, self.policy.meter, lambda text: self.show.finding("warn", text))
        if judging is not None:
            judging.begin()
        if state is None and index == 0:
            self._evaluate(name, "before")
            self.gallery.draw(name, 0)
        if state is not None and "plan" in state:
            plan.load_state_dict(state["plan"])
            learner.load_state_dict(state["learner"])
            journal.asks = state["asks"]
            if judging is not None:
                judging.load_state_dict(state["judges"])
        elif needs_reference(phase):  # a phase in progress has the one it began with, from its checkpoint
            self.policy.keep_reference()
        parts = [*phase.credit, *phase.select]
        # demonstrations cost nothing: they are read again instead of written down
        loop = Loop(plan, sample, judging, parts, learner, journal if phase.sample == "policy" else None)
        self._phase_state = lambda: {
            "phase": index,
            "plan": plan.state_dict(),
            "learner": learner.state_dict(),
            "asks": journal.asks,
            "judges": judging.state_dict() if judging is not None else [],
            "data": {"fingerprint": data, "held": changes.held(plan.piles)},
        }
        try:
            if state is not None and state.get("steps"):  # it goes on where it once ended
                self._between(name, phase)
            self._steps(name, phase, loop, journal)
        except Exception as error:
            journal.blame(error)
            raise
        finally:
            journal.close()
        extend = {**self._phase_state(), "steps": phase.steps, "lines": self.metrics.lines}
        held = [*plan.piles.judged(), *plan.piles.take_refused(), *plan.piles.unfinished]
        self._write_rollouts(f"held-{name}", name, [(piece, False) for piece in held], self.step)
        self._evaluate(name, "after")
        self._phase_state = lambda: {"phase": index + 1, "extend": extend}
        self._checkpoint()

    def _steps(self, name: str, phase: Phase, loop: Loop, journal: Journal) -> None:
        batches = loop.run(phase.steps - phase.plan.piles.step)
        earlier = [costs_of(line) for line in self.history if line["phase"] != name]
        began = earlier[-1] if earlier else {}
        while not exhausted(phase.budget, self.costs.spent, began):
            start, before = time.perf_counter(), dict(loop.seconds)
            self.costs.start(self.policy.meter)
            batch = next(batches, None)
            if batch is None:
                return
            seconds = {stage: total - before.get(stage, 0.0) for stage, total in loop.seconds.items()}
            self.step += 1
            took = time.perf_counter() - start
            self.costs.add(batch, phase.plan.piles, self.policy, took)
            values = self._measure(name, phase, loop, batch) | stage_seconds(seconds) | {"step_time": took}
            pieces = [(batch, True), *((group, False) for group in phase.plan.piles.take_refused())]
            self._write_rollouts(f"step-{self.step:06d}", name, pieces, self.step)
            self.show.drew(batch)
            self._log(values)
            journal.settled()
            for notice in [*loop.learner.notices, *batch.facts.get("judge_errors", [])[:SHOWN]]:
                self.show.finding("note", notice)
            loop.learner.notices.clear()
            self._between(name, phase)

    def _between(self, name: str, phase: Phase) -> None:
        """Evaluation, checkpoint and images that are due after a step, unless it is the last of the phase."""
        done = phase.plan.piles.step
        if due(done, phase.steps):
            self.gallery.draw(name, self.step)
        every = self.recipe.evaluate.every if self.recipe.evaluate else 0
        if every and done % every == 0 and done < phase.steps:
            self._evaluate(name, "during")
        if self.step % self.recipe.save_every == 0 and done < phase.steps:
            self._checkpoint()

    def _measure(self, name: str, phase: Phase, loop: Loop, batch: Rollouts) -> dict[str, Any]:
        measured = batch_metrics(batch)
        refused = phase.plan.piles.refused
        counts = {
            "groups/refused": len({number for piece in refused for number in piece.group.tolist()}),
            "rollouts/judged": len(batch) + sum(len(piece) for piece in refused if "reward" in piece),
            "rollouts/trained": int((batch.gather(batch.actions.share, "sum") > 0).sum()),
        }
        head = {"kind": "step", "phase": name, "step": self.step, "phase_step": phase.plan.piles.step}
        return {
            **head,
            **measured,
            **loop.learner.metrics,
            **counts,
            **phase.plan.held(),
            **self.costs.metrics,
        }

    def _log(self, values: dict[str, Any]) -> None:
        values = json_safe(values | {"time": time.time() - self.started})
        self.metrics.write(**values)
        self.history.append(values)
        self.show.step(values)
        for finding in self.watch.after(values, self.said):
            self._tell(finding)

    def _tell(self, finding: Finding) -> None:
        self.said.append(finding)
        self.metrics.write(kind="doctor", step=self.step, **json_safe(asdict(finding)))
        self.show.finding(finding.level, finding.sentence)
        if finding.level == "alarm" and self.recipe.stop_on_alarm:
            raise Alarm(finding.sentence)

    def _write_rollouts(self, file: str, phase: str, pieces: list[tuple[Rollouts, bool]], step: int) -> None:
        path = self.directory / "rollouts" / f"{file}.parquet"
        write_rollouts(path, pieces, step, phase, lambda tokens: self.policy.decode(tokens))

    # evaluation

    def _evaluate(self, name: str, when: str) -> None:
        spec = self.recipe.evaluate
        if spec is None:
            return
        judges = spec.judge or next((phase.judge for phase in self.recipe.phases.values() if phase.judge), ())
        for mode in ("greedy", "sampled"):
            self.show.says(f"evaluating {when} {name}, {mode}")
            judging = Judging(scorers(judges))
            asked = (spec.data, spec.size, spec.samples, self.recipe.seed, mode, spec.on_bad_row)
            judged = answered(self.policy, judging, *asked)
            if when == "after":
                write_held_out(self.directory / "held_out" / f"{name}-{mode}.parquet", judged)
            found = measure(judged, mode, pattern_of(judging)) | self.costs.metrics
            values = {"kind": "eval", "phase": name, "step": self.step, "when": when, **found}
            self.metrics.write(**json_safe(values))
            self.show.evaluation(values)
            finding = fallen(self.held_out[mode], values) if mode in self.held_out else None
            if finding and finding.key not in [earlier.key for earlier in self.said]:
                self._tell(finding)
            if when != "during":
                self.held_out[mode] = values

    # checkpoint

    def _checkpoint(self) -> None:
        state = {
            **self._phase_state(),
            **self._made_with,
            "step": self.step,
            "lines": self.metrics.lines,
            "costs": dict(self.costs.spent),
            "elapsed": time.time() - self.started,
        }
        self.lock.check()
        flush(self.metrics.path)  # its lines are counted on when this checkpoint is resumed
        if write_checkpoint(self.directory, self.step, self.policy, state, self.recipe.keep_checkpoints):
            forget(self.directory / "journal", list(self.recipe.phases), *reached(self.directory))

    def _extended(self, state: dict[str, Any]) -> dict[str, Any]:
        """`state`, or the one before the end of its phase where the recipe now has more steps for it."""
        before = state.pop("extend", None)
        if before is None:
            return state
        longer = list(self.recipe.phases.values())[before["phase"]].steps > before["steps"]
        return {**state, **before} if longer else state

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.first_phase, self.costs = state["step"], state["phase"], Costs(state["costs"])
        self.metrics.lines = state["lines"]
        self.started = time.time() - state["elapsed"]
        lines = read_lines(self.metrics.path)[: state["lines"]]
        self.history = [line for line in lines if line["kind"] == "step"]
        self.watch = Watch(self.history)
        self.said = [Finding(**said(line)) for line in lines if line["kind"] == "doctor"]
        ends = [line for line in lines if line["kind"] == "eval" and line["when"] != "during"]
        self.held_out = {line["mode"]: line for line in ends}
        self.show.says(f"resuming after step {self.step}")


def needs_reference(phase: Phase) -> bool:
    """Whether some part of the phase reads log-probs or samples of the reference."""
    parts = [*phase.judge, *phase.credit, *phase.select, *phase.objective]
    wanted = {"actions.reference", "reference_output"}
    return any(wanted & set(declared(each, "reads")) for each in parts)


def stage_seconds(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds of one step by stage; stages other than sampling, judging and update are added up."""
    named = {"sample_time": "sample", "judge_time": "judge", "update_time": "update"}
    times = {metric: seconds.get(stage, 0.0) for metric, stage in named.items()}
    # "answer" is what "sample" and "judge" are parts of
    inner = times["sample_time"] + times["judge_time"]
    times["credit_time"] = sum(seconds.values()) - inner - sum(times.values())
    return times


def said(line: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Finding in a line of metrics."""
    return {name: value for name, value in line.items() if name not in ("kind", "step")}


OUTPUTS = ("metrics.jsonl", "rollouts", "journal")


def claim_directory(directory: Path, recipe: Recipe, resume: bool) -> list[str]:
    """Makes `directory` this run's; gives sentences on what a resumed run changes.

    Raises FileExistsError rather than mix two runs.
    """
    written = directory / "recipe.yaml"
    if not written.exists() and (foreign := [name for name in OUTPUTS if (directory / name).exists()]):
        raise FileExistsError(f"{directory} holds {', '.join(foreign)} but no recipe.yaml: it is not a run")
    if written.exists() and not resume:
        raise FileExistsError(
            f"{directory} holds a run already; go on with it (--resume; in Python resume=True), "
            "or give another directory (--run)"
        )
    if not written.exists():
        directory.mkdir(parents=True, exist_ok=True)
        replace_file(directory / "environment.json", environment())
        replace_file(written, resolved(recipe))
        return []
    lines = read_lines(directory / "metrics.jsonl")
    return take_over(written, recipe, [line for line in lines if line["kind"] == "step"])
