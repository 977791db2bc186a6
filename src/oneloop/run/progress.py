"""What a run shows while it runs: progress bars that also move inside a step, findings, the closing table."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

COLOURS = {"note": "cyan", "warn": "yellow", "alarm": "bold red"}


class Show:
    """Draws on `console`; one made with `quiet` draws nothing."""

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or Console(quiet=quiet, stderr=False)
        self.evaluations: list[dict[str, Any]] = []
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._inside: TaskID | None = None

    @contextmanager
    def running(self, phases: Mapping[str, int]) -> Iterator[None]:
        """Bars for the steps of each phase, and one for the tokens inside a step."""
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
            self._progress.update(self._inside, completed=tokens, note=f"{finished} rollouts finished")

    def step(self, values: Mapping[str, Any]) -> None:
        """A step is over."""
        if self._progress is None:
            return
        bar = self._bars[values["phase"]]
        self._progress.start_task(bar)
        shown = [(name, values[name]) for name in ("reward", "loss", "nll", "entropy") if name in values]
        note = "  ".join(
            f"{name} {value:.3f}" for name, value in shown if not (name == "loss" and "reward" in values)
        )
        self._progress.update(bar, completed=values["phase_step"], note=note)

    def says(self, sentence: str) -> None:
        """A line that is not part of the bars."""
        if self._progress is not None and self._inside is not None:
            self._progress.update(self._inside, note=escape(sentence))
        else:
            self.console.print(sentence, markup=False, highlight=False)

    def finding(self, level: str, sentence: str) -> None:
        """What the signal doctor says."""
        self.console.print(f"[{COLOURS[level]}]{level}[/] {escape(sentence)}", highlight=False)

    def evaluation(self, values: dict[str, Any]) -> None:
        """Remembers one evaluation for the closing table."""
        self.evaluations.append(values)


def closing_table(evaluations: list[dict[str, Any]]) -> Table:
    """Held-out accuracy before and after each phase, greedy and sampled, with 95 % intervals."""
    table = Table(title="held-out accuracy (95 % intervals)", title_justify="left")
    for column in ("when", "greedy", "sampled"):
        table.add_column(column, justify="left" if column == "when" else "right")
    rows: dict[str, dict[str, str]] = {}
    for values in evaluations:
        label = f"{values['when']} {values['phase']}".strip()
        label += f", step {values['step']}" if values["when"] == "during" else ""
        text = f"{100 * values['accuracy']:.1f} % ({100 * values['low']:.1f} to {100 * values['high']:.1f})"
        rows.setdefault(label, {})[values["mode"]] = text
    for label, cells in rows.items():
        table.add_row(escape(label), cells.get("greedy", ""), cells.get("sampled", ""))
    return table
