"""What a run shows while it runs: bars on a terminal, lines in a file; findings; the closing table.

    grpo 120/240 reward .81 len 2.5 ent .21 no-signal 23 % .25 s/step ETA 0:30

is a line: the first and the last step of a phase have one, and between them one is printed every 10 s.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from oneloop.core.rollouts import Rollouts
from oneloop.core.text import shown
from oneloop.measure.statistics.scores import measures, with_interval
from oneloop.run.terminal import Terminal

COLOURS = {"note": "cyan", "warn": "yellow", "alarm": "bold red"}
RHYTHM = 10.0
"""Seconds between two lines."""
SHOWN = {"reward": "reward", "nll": "nll", "completions/mean_length": "len", "entropy": "ent"}
"""Metrics in a line or beside a bar, and what they are called there."""
STAGES = ("sample_time", "judge_time", "credit_time", "update_time")
BUSY, WAITS = "runtime/busy/", "runtime/waits/"
"""Metrics of stages that work beside one another."""
LONGEST = 200
"""Characters shown of a prompt or a completion."""


class Show:
    """Shows the progress of a run on `console`; with `quiet` only what goes to `warnings`.

    `verbose`: a line for every step, with the seconds of each stage. `completions`: so many rollouts of the
    batch are printed below each line. `warnings`: where warnings and alarms go; default `console`.
    """

    def __init__(
        self,
        console: Console | None = None,
        quiet: bool = False,
        verbose: bool = False,
        completions: int = 0,
        warnings: Console | None = None,
    ):
        self.console = console or Terminal(quiet=quiet, stderr=False)
        self.warnings = warnings or self.console
        self.verbose, self.completions = verbose, completions
        self.evaluations: list[dict[str, Any]] = []
        self._lines = verbose or not self.console.is_terminal
        self._totals: Mapping[str, int] = {}
        self._printed = ("", float("-inf"))
        self._batch: Rollouts | None = None
        self._seconds: list[float] = []
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._busy: dict[str, TaskID] = {}
        self._inside: TaskID | None = None

    @classmethod
    def silent(cls) -> "Show":
        """Shows nothing at all: for processes beside the one that shows."""
        return cls(Terminal(quiet=True))

    @contextmanager
    def running(self, phases: Mapping[str, int]) -> Iterator[None]:
        """Shows the steps of each phase ({name: steps}) and, on a terminal, the tokens inside a step."""
        self._totals = phases
        if self._lines:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console) as self._progress:
            self._bars = {
                name: self._progress.add_task(name, total=steps, note="", start=False)
                for name, steps in phases.items()
            }
            self._inside = self._progress.add_task("sampling", total=None, note="")
            try:
                yield
            finally:
                self._progress.remove_task(self._inside)
                self._inside = None
        self._progress = None

    def tokens(self, tokens: int, finished: int) -> None:
        """Called by the engine after every token of the batch."""
        if self._progress is not None and self._inside is not None:
            note = f"{finished} rollouts finished"
            self._progress.update(self._inside, completed=tokens, note=note, visible=True)

    def drew(self, batch: Rollouts) -> None:
        """Takes the batch of the step that is about to be shown."""
        self._batch = batch if self.completions else None

    def step(self, values: Mapping[str, Any]) -> None:
        """A step is over; `values` are its metrics."""
        if self._progress is not None:
            bar = self._bars[values["phase"]]
            self._progress.start_task(bar)
            self._progress.update(bar, completed=values["phase_step"], note=noted(values))
            self._stages(self._progress, values)
        self._seconds.append(values.get("step_time", 0.0))
        if not self._due(values):
            return
        self._printed = (values["phase"], time.monotonic())
        if self._lines:
            self._say(self._line(values))
        for sentence in completions(self._batch, self.completions) if self._batch is not None else ():
            self._say(sentence)

    def _stages(self, progress: Progress, values: Mapping[str, Any]) -> None:
        """A bar a stage that works beside others: the share of the step in which it worked."""
        for name, share in values.items():
            if not name.startswith(BUSY):
                continue
            stage = name.removeprefix(BUSY)
            if stage not in self._busy:
                self._busy[stage] = progress.add_task(f"  {stage}", total=100, note="")
            waits = values.get(f"{WAITS}{stage}")
            note = f"busy {100 * share:.0f} %"
            note += "" if waits is None else f", the update waits for it {100 * waits:.0f} %"
            progress.update(self._busy[stage], completed=round(100 * share), note=note)
            if self._inside is not None:  # samplers beside the update do not count their tokens here
                progress.update(self._inside, visible=False)

    def _due(self, values: Mapping[str, Any]) -> bool:
        phase, at = self._printed
        ends = values["phase_step"] == self._totals.get(values["phase"])
        return self.verbose or ends or values["phase"] != phase or time.monotonic() - at >= RHYTHM

    def _line(self, values: Mapping[str, Any]) -> str:
        done, total = values["phase_step"], self._totals.get(values["phase"], 0)
        rate = sum(self._seconds) / len(self._seconds)
        self._seconds = []
        words = [f"{values['phase']} {done}/{total}", noted(values), f"{brief(rate)} s/step"]
        if self.verbose:
            words += [f"{name.removesuffix('_time')} {brief(values.get(name, 0.0))} s" for name in STAGES]
        minutes, seconds = divmod(round(rate * (total - done)), 60)
        return " ".join(word for word in [*words, f"ETA {minutes}:{seconds:02}"] if word)

    def says(self, sentence: str) -> None:
        """Prints a sentence outside the bars."""
        if self._progress is not None and self._inside is not None:
            self._progress.update(self._inside, note=escape(shown(sentence)), visible=True)
        else:
            self._say(sentence)

    def _say(self, sentence: str) -> None:
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def finding(self, level: str, sentence: str) -> None:
        """Prints a finding of the signal doctor."""
        where = self.console if level == "note" else self.warnings
        where.print(f"[{COLOURS[level]}]{level}[/] {escape(sentence)}", highlight=False)

    def evaluation(self, values: dict[str, Any]) -> None:
        """Remembers one evaluation for the closing table, and says it where there are no bars."""
        self.evaluations.append(values)
        if self._lines:
            self._say(f"{moment(values)}, {values['mode']}: {score(values)}")


def noted(values: Mapping[str, Any]) -> str:
    """The metrics of a step that a line has room for."""
    words = [f"{said} {brief(values[name])}" for name, said in SHOWN.items() if name in values]
    if "frac_reward_zero_std" in values:
        words.append(f"no-signal {100 * values['frac_reward_zero_std']:.0f} %")
    waits = {name.removeprefix(WAITS): share for name, share in values.items() if name.startswith(WAITS)}
    if waits:
        longest = max(waits, key=lambda stage: waits[stage])
        words.append(f"waits for {longest} {100 * waits[longest]:.0f} %")
    return " ".join(words)


def brief(number: float) -> str:
    """At most three digits: .81, 2.5, 12.4, 30,000, 1.2e-05."""
    if number and abs(number) < 0.001:
        return f"{number:.1e}"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}".replace("0.", ".", 1) if 0 < abs(number) < 1 else f"{number:.3g}"


def completions(batch: Rollouts, count: int) -> list[str]:
    """`count` texts of the batch, spread evenly over it, each with its prompt and reward; [] of images."""
    if not count or "text" not in batch:
        return []
    rows = range(0, len(batch), max(1, len(batch) // count))[:count]
    found = []
    for row in rows:
        prompt = batch.context[row][0][1] if batch.context[row] else ""
        asked = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", ""))
        reward = f"  reward {brief(float(batch.reward[row]))}" if "reward" in batch else ""
        found.append(f"  {shortened(asked)!r} -> {shortened(batch.text[row])!r}{reward}")
    return found


def shortened(text: str) -> str:
    """`text`, its middle left out where it is long."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


def moment(values: Mapping[str, Any]) -> str:
    """The time of an evaluation in words, such as its step or phase."""
    step = f", step {values['step']}" if values["when"] == "during" else ""
    return f"{values['when']} {values['phase']}{step}".strip()


def score(values: Mapping[str, Any]) -> str:
    """What an evaluation measured, with intervals."""
    found = measures([values])
    words = [with_interval(values, measure) for measure in found]
    return ", reward ".join(words) if found[:1] != ["reward"] else f"reward {words[0]}"


def closing_table(evaluations: list[dict[str, Any]]) -> Table:
    """Held-out scores before and after each phase, greedy and sampled, with 95 % intervals."""
    found = measures(evaluations)
    columns = [(measure, mode) for measure in found for mode in ("greedy", "sampled")]
    table = Table(title=f"held-out {' and '.join(found)} (95 % intervals)", title_justify="left")
    table.add_column("when")
    for measure, mode in columns:
        table.add_column(mode if measure == found[0] else f"{measure}, {mode}", justify="right")
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for values in evaluations:
        cells = rows.setdefault(moment(values), {})
        cells |= {(measure, values["mode"]): with_interval(values, measure) for measure in found}
    for label, cells in rows.items():
        table.add_row(escape(label), *(cells.get(column, "") for column in columns))
    return table
