"""The journal: what was sampled and judged is on the disk before anything is learned from it.

A run that dies between two checkpoints samples nothing twice: on resume, an ask with the same ids gets the
journal's answer. Entries older than the last checkpoint are deleted.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from oneloop.core import storage
from oneloop.core.meter import Meter
from oneloop.core.rollouts import Rollouts

Sampled = tuple[Rollouts, Rollouts]


class Journal:
    """Wraps the sample and judge stages of a loop; `folder` holds one entry per ask."""

    def __init__(
        self,
        folder: Path,
        sample: Callable[[Rollouts], Sampled],
        judge: Callable[[Rollouts], Rollouts] | None,
        meter: Meter | None = None,
    ):
        self.folder, self._sample, self._judge = folder, sample, judge
        self._meter, self._evaluations = meter or Meter(), 0
        self.asks = self.reused = 0
        self._asked: Rollouts | None = None
        self._unfinished: Rollouts | None = None
        self._found = False

    def sample(self, asked: Rollouts) -> Sampled:
        """The journal's answer to this ask, or a new one from the sampler."""
        found, judged = self._read(asked)
        self._asked, self._found = asked, judged
        if found:  # counted as if it were sampled again: a budget ends where it would have ended
            self._meter.plain += self._evaluations
        else:
            before = self._meter.plain
            found = self._sample(asked)
            self._evaluations = self._meter.plain - before
        finished, self._unfinished = found
        return finished, self._unfinished

    def judge(self, finished: Rollouts) -> Rollouts:
        """Verdicts on `finished` (the journal's, when it had them), on the disk before they are returned."""
        if self._asked is None:  # nothing was asked: a batch was ready
            return finished
        if self._found:
            judged, self.reused = finished, self.reused + 1
        else:
            try:
                judged = self._judge(finished) if self._judge is not None and len(finished) else finished
            except BaseException:  # a judge that is away, Ctrl-C: what was sampled is judged on resume
                self._write(finished, judged=False)
                raise
            self._write(judged)
        self.asks, self._asked = self.asks + 1, None
        if (learn := getattr(self._judge, "learn", None)) is not None:  # as it did before the run was killed
            learn(judged)
        return judged

    def _write(self, finished: Rollouts, judged: bool = True) -> None:
        assert self._asked is not None and self._unfinished is not None
        entry = {
            "asked": self._asked.id,
            "judged": judged,
            "evaluations": self._evaluations,
            "finished": finished.without("example").state_dict(),
            "unfinished": self._unfinished.without("example").state_dict(),
        }
        path = self._path(self.asks)
        storage.delete_folder(path)  # an answer to other ids: the recipe or the seed was another
        storage.write_folder(path, lambda folder: storage.write_state(folder, entry))

    def _read(self, asked: Rollouts) -> tuple[Sampled | None, bool]:
        """(the answer, whether it was judged), or (None, False)."""
        path = self._path(self.asks)
        if not path.exists():
            return None, False
        entry: dict[str, Any] = storage.read_state(path)
        if not torch.equal(entry["asked"], asked.id):
            return None, False
        examples = dict(zip(asked.key.tolist(), asked.example, strict=True))
        pieces = [Rollouts.from_state(entry[name]) for name in ("finished", "unfinished")]
        finished, unfinished = (
            piece.put(example=[examples[key] for key in piece.key.tolist()]).put_facts(**asked.facts)
            for piece in pieces
        )
        self._evaluations = entry["evaluations"]
        return (finished, unfinished), entry["judged"]

    def _path(self, ask: int) -> Path:
        return self.folder / f"ask-{ask:08d}"

    def forget(self) -> None:
        """A checkpoint holds everything up to now: deletes older entries."""
        for path in self.folder.glob("ask-*"):
            if int(path.name.removeprefix("ask-")) < self.asks:
                storage.delete_folder(path)
