"""The journal: what was sampled and judged is on the disk before anything is learned from it.

A run that dies between two checkpoints samples nothing twice: on resume, an ask with the same ids gets the
journal's answer. Entries are kept as far back as the oldest checkpoint, so that a run which falls back to it
pays for nothing again. An entry that cannot be read, or whose replay raises, is set aside and asked anew.
"""

import errno
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from oneloop.core import storage
from oneloop.core.identity import identity
from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts
from oneloop.run.reserve import Reserve

Sampled = tuple[Rollouts, Rollouts]
Sample = Callable[[Rollouts], Sampled]
Judge = Callable[[Rollouts], Rollouts]
ENTRY = "ask-{:08d}.entry"
CONTENT = (ValueError, TypeError, LookupError, AttributeError)
"""Exceptions that a step raises when its input is at fault."""


@dataclass(frozen=True)
class JournalEntry:
    """The answer to one ask."""

    finished: Rollouts
    unfinished: Rollouts
    judged: bool
    """Whether `finished` has its verdicts; without them it is judged on resume."""
    evaluations: float
    """Network evaluations that the sampling took."""


class Journal:
    """Answers requests for rollouts from the entries in `folder`; samples and judges those without an entry.

    `says` gets a sentence for each entry that is set aside. Stages that run beside one another call `recall`,
    `room`, `judged` and `used`, each for an ask by its number; `answer` is all of them for the next ask.
    """

    def __init__(self, folder: Path, meter: Meter | None = None, says: Callable[[str], None] = print):
        self.folder, self.meter, self._says = folder, meter or Meter(), says
        self.asks = self.reused = 0
        """Asks that were answered and used, and those of them that the journal answered."""
        self._replayed: list[Path] = []
        self._reserve = Reserve(folder / "reserve")
        self._disk = threading.Lock()

    def answer(self, asked: Rollouts, sample: Sample, judge: Judge) -> Sampled:
        """(finished and judged, unfinished): the entry of this ask, or a new one, on the disk before it is
        returned. What was sampled and not judged is written too, whatever `judge` raises.

        Raises OSError, before anything is sampled, when the disk has no room for the answer.
        """
        number = self.asks
        entry = self.recall(number, asked)
        recalled = entry is not None and entry.judged
        if entry is None:
            self.room()
            before = self.meter.plain
            finished, unfinished = sample(asked)
            entry = JournalEntry(finished, unfinished, False, self.meter.plain - before)
        else:  # counted as if it were sampled again: a budget ends where it would have ended
            self.meter.plain += entry.evaluations
        if not entry.judged:
            entry = self.judged(number, asked, entry, judge)
        self.used(number, recalled)
        return entry.finished, entry.unfinished

    def room(self) -> None:
        """Keeps room for an answer. Raises OSError where the disk has none."""
        with self._disk:
            self._reserve.keep()

    def used(self, number: int, recalled: bool) -> None:
        """The answer to ask `number` goes into the step in progress; `recalled`: it is the journal's."""
        self.asks += 1
        if recalled:
            self.reused += 1
            self._replayed.append(self._path(number))

    def settled(self) -> None:
        """Tells that the step which used the latest answers is over and recorded."""
        self._replayed.clear()

    def blame(self, error: Exception) -> None:
        """The step raised `error`. If its answers were the journal's, they are set aside and asked anew."""
        for path in self._replayed if isinstance(error, CONTENT) else ():
            self._set_aside(path, error)
        self._replayed.clear()

    def close(self) -> None:
        """The phase is over: no room is needed any more."""
        self._reserve.spend()

    def judged(self, number: int, asked: Rollouts, entry: JournalEntry, judge: Judge) -> JournalEntry:
        """`entry` with its verdicts, on the disk; without them where `judge` raises, and that is raised."""
        try:
            finished = judge(entry.finished) if len(entry.finished) else entry.finished
        except BaseException:  # a judge that is away, Ctrl-C: what was sampled is judged on resume
            self.write(number, asked, entry)
            raise
        entry = replace(entry, finished=finished, judged=True)
        try:
            self.write(number, asked, entry)
        except KeyboardInterrupt:  # verdicts were paid for: a moment more keeps them
            self.write(number, asked, entry)
            raise
        return entry

    def write(self, number: int, asked: Rollouts, entry: JournalEntry) -> None:
        """Puts the answer to ask `number` on the disk. Raises OSError where that is full, the answer kept."""
        state = {
            "asked": asked.id,
            "rows": _rows(asked),
            "judged": entry.judged,
            "evaluations": entry.evaluations,
            "finished": entry.finished.without("example").state_dict(),
            "unfinished": entry.unfinished.without("example").state_dict(),
        }
        path = self._path(number)
        with self._disk:
            try:
                storage.write_entry(path, state)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._reserve.spend():
                    raise
                storage.write_entry(path, state)
                raise OSError(
                    error.errno,
                    "the disk is full; what was sampled and judged is kept: make room and --resume",
                ) from error
            self._reserve.wants(path.stat().st_size)

    def recall(self, number: int, asked: Rollouts) -> JournalEntry | None:
        """The entry of ask `number` for the ids of `asked`; None if there is none."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = storage.read_entry(path)
            if not torch.equal(state["asked"], asked.id):  # the recipe or the seed was another
                return None
            if state["rows"] != _rows(asked):
                raise ValueError("it answers to data rows with other contents")
            finished, unfinished = (_piece(state[name], asked) for name in ("finished", "unfinished"))
            return JournalEntry(finished, unfinished, bool(state["judged"]), state["evaluations"])
        except Exception as error:
            self._set_aside(path, error)
            return None

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = storage.set_aside(path)
        self._says(
            f"the journal's entry {path.name} cannot be used ({type(error).__name__}: {error}); it is kept "
            f"as {aside.name}, and its rollouts are sampled and judged again"
        )

    def _path(self, ask: int) -> Path:
        return self.folder / ENTRY.format(ask)


def _rows(asked: Rollouts) -> str:
    """The identity of the data rows of `asked`."""
    return identity(
        [identity(row) for row in dict(zip(asked.key.tolist(), asked.example, strict=True)).values()]
    )


def _piece(stored: dict[str, Any], asked: Rollouts) -> Rollouts:
    """Rollouts from the disk, with the data rows and the facts of the ask."""
    piece = Rollouts.from_state(stored)
    examples = dict(zip(asked.key.tolist(), asked.example, strict=True))
    return piece.put(example=[examples[key] for key in piece.key.tolist()]).put_facts(**asked.facts)


def forget(folder: Path, phases: Sequence[str], phase: int, asks: int) -> None:
    """Deletes entries in `folder`, one folder a phase, from before the ask number `asks` of phase `phase`."""
    for number, name in enumerate(phases[: phase + 1]):
        for ask, path in storage.numbered(folder / name, ENTRY).items():
            if number < phase or ask < asks:
                path.unlink()
