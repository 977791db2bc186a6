"""What a run has recorded: the lines of metrics.jsonl, its costs, and what the signal doctor found.

A checkpoint keeps the number of lines; on resume the rest is read back from the file.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oneloop.core.costs import Costs, Unit, costs_of
from oneloop.core.lines import Lines
from oneloop.core.storage import Damaged, flush
from oneloop.parallel.ranks.world import World
from oneloop.recipe.recipe import Recipe
from oneloop.report.doctor import Finding, Watch
from oneloop.run.metrics import json_safe
from oneloop.run.progress import Show
from oneloop.run.record import Metrics, read_lines
from oneloop.run.trackers import tracker


class Alarm(RuntimeError):
    """The signal doctor stopped the run; the message is its sentence."""


class Log:
    """The record of a run of `recipe` in `directory`; every line is also shown on `show`.

    Rank 0 of `world` writes; the others keep the same record in memory."""

    def __init__(self, recipe: Recipe, directory: Path, show: Show, world: World):
        self.recipe, self.directory, self.show, self.world = recipe, directory, show, world
        self.metrics = Metrics(directory / "metrics.jsonl", writes=world.rank == 0)
        self.costs = Costs()
        self.started = time.time()
        self.step = 0
        """Steps the run has made, over all phases."""
        self.history = Lines()
        """Metrics of every step."""
        self.watch = Watch(self.history)
        self.findings: list[Finding] = []
        """What the doctor has said."""

    def open(self) -> None:
        """Drops lines after the checkpoint, or all without one, and starts the recipe's trackers."""
        self.metrics.truncate(self.metrics.lines)
        for board in self.recipe.trackers if self.metrics.writes else ():
            self.metrics.hooks.append(tracker(board, self.recipe.name, self.directory))

    def write_step(self, values: Mapping[str, Any]) -> None:
        """Records the metrics of a step and what the doctor says of them. Raises Alarm."""
        line = json_safe({**values, "time": time.time() - self.started})
        self.metrics.write(**line)
        self.history.append(line)
        self.show.step(line)
        for finding in self.world.first(lambda: self.watch.news(self.findings)):
            self.tell(finding)

    def tell(self, finding: Finding) -> None:
        """Records and shows a finding. Raises Alarm for one of level alarm, unless the recipe goes on."""
        self.findings.append(finding)
        self.metrics.write(kind="doctor", step=self.step, **json_safe(asdict(finding)))
        self.show.finding(finding.level, finding.sentence)
        if finding.level == "alarm" and self.recipe.stop_on_alarm:
            raise Alarm(finding.sentence)

    def spent_before(self, phase: str) -> dict[Unit, float]:
        """Totals when `phase` began."""
        earlier = [costs_of(line) for line in self.history if line["phase"] != phase]
        return earlier[-1] if earlier else {}

    def flush(self) -> None:
        """Waits until every line is on the disk: a checkpoint counts on them."""
        if self.metrics.writes:
            flush(self.metrics.path)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the log."""
        return {
            "step": self.step,
            **self.metrics.state_dict(),
            "costs": dict(self.costs.spent),
            "elapsed": time.time() - self.started,
        }

    def load_state_dict(self, state: Mapping[str, Any], accept: bool = False) -> list[dict[str, Any]]:
        """Goes on where `state_dict` was taken; gives the lines recorded until then.

        Raises Damaged where they are not as they were written, unless that is to be accepted.
        """
        self.step, self.costs = state["step"], Costs(state["costs"])
        self.started = time.time() - state["elapsed"]
        self.metrics.lines = state["lines"]
        if not self.metrics.sound(**state):
            where = f"{self.metrics.path} is not what was written in its first {state['lines']} lines"
            if not accept:
                raise Damaged(f"{where}; bring back a copy, or go on all the same with --accept-changes")
            self.show.finding("warn", where)
        lines = read_lines(self.metrics.path)[: state["lines"]]
        self.history = Lines(line for line in lines if line["kind"] == "step")
        self.watch = Watch(self.history)
        self.findings = [Finding(**_fields(line)) for line in lines if line["kind"] == "doctor"]
        return lines


def _fields(line: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Finding in a line of metrics."""
    return {name: value for name, value in line.items() if name not in ("kind", "step")}
