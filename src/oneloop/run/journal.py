"""The journal: what was sampled and judged is on the disk before anything is learned from it.

A run that dies between two checkpoints samples nothing twice: on resume, an ask with the same ids gets the
journal's answer. Entries older than the last checkpoint are deleted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from oneloop.core import storage
from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts

Sampled = tuple[Rollouts, Rollouts]
Sample = Callable[[Rollouts], Sampled]
Judge = Callable[[Rollouts], Rollouts]


@dataclass(frozen=True)
class Entry:
    """The answer to one ask."""

    finished: Rollouts
    unfinished: Rollouts
    judged: bool
    """Whether `finished` has its verdicts; without them it is judged on resume."""
    evaluations: int
    """Evaluations of the network that the sampling took."""


class Journal:
    """Answers asks from `folder`, which holds one entry an ask, and has the others sampled and judged."""

    def __init__(self, folder: Path, meter: Meter | None = None):
        self.folder, self.meter = folder, meter or Meter()
        self.asks = self.reused = 0

    def answer(self, asked: Rollouts, sample: Sample, judge: Judge) -> Sampled:
        """(finished and judged, unfinished): the entry of this ask, or a new one, on the disk before it is
        returned. What was sampled and not judged is written too, whatever `judge` raises."""
        entry = self._read(asked)
        if entry is None:
            before = self.meter.plain
            finished, unfinished = sample(asked)
            entry = Entry(finished, unfinished, False, self.meter.plain - before)
        else:  # counted as if it were sampled again: a budget ends where it would have ended
            self.meter.plain += entry.evaluations
        if entry.judged:
            self.reused += 1
        else:
            entry = self._judged(asked, entry, judge)
        self.asks += 1
        return entry.finished, entry.unfinished

    def _judged(self, asked: Rollouts, entry: Entry, judge: Judge) -> Entry:
        try:
            finished = judge(entry.finished) if len(entry.finished) else entry.finished
        except BaseException:  # a judge that is away, Ctrl-C: what was sampled is judged on resume
            self._write(asked, entry)
            raise
        entry = replace(entry, finished=finished, judged=True)
        self._write(asked, entry)
        return entry

    def _write(self, asked: Rollouts, entry: Entry) -> None:
        state = {
            "asked": asked.id,
            "judged": entry.judged,
            "evaluations": entry.evaluations,
            "finished": entry.finished.without("example").state_dict(),
            "unfinished": entry.unfinished.without("example").state_dict(),
        }
        path = self._path(self.asks)
        storage.delete_folder(path)  # an answer to other ids: the recipe or the seed was another
        storage.write_folder(path, lambda folder: storage.write_state(folder, state))

    def _read(self, asked: Rollouts) -> Entry | None:
        """What was answered to these ids; None: nothing."""
        path = self._path(self.asks)
        if not path.exists():
            return None
        state: dict[str, Any] = storage.read_state(path)
        if not torch.equal(state["asked"], asked.id):
            return None
        examples = dict(zip(asked.key.tolist(), asked.example, strict=True))
        pieces = [Rollouts.from_state(state[name]) for name in ("finished", "unfinished")]
        finished, unfinished = (
            piece.put(example=[examples[key] for key in piece.key.tolist()]).put_facts(**asked.facts)
            for piece in pieces
        )
        return Entry(finished, unfinished, state["judged"], state["evaluations"])

    def _path(self, ask: int) -> Path:
        return self.folder / f"ask-{ask:08d}"

    def forget(self) -> None:
        """A checkpoint holds everything up to now: deletes older entries."""
        for path in self.folder.glob("ask-*"):
            if int(path.name.removeprefix("ask-")) < self.asks:
                storage.delete_folder(path)
