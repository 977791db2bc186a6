"""The directory of a run as the one rank that writes there sees it: claimed, read back, saved to, closed.

All ranks make a `Writer` and call it at once; those beside rank 0 learn what it found, and write nothing.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from oneloop.core.storage import set_aside, sweep
from oneloop.parallel.ranks.world import World
from oneloop.recipe.recipe import Recipe
from oneloop.run.checkpoint import delete_old, oldest, reached, sound, write_checkpoint
from oneloop.run.checksums import verify
from oneloop.run.directories import claim_directory, report_of
from oneloop.run.journal import forget
from oneloop.run.lock import Lock
from oneloop.run.log import Log
from oneloop.run.made_with import begin, compared, made_with
from oneloop.run.merging import cut, merge
from oneloop.run.progress import Show


class Writer:
    """Holds `directory` for the run of `recipe` from `claim` to `close`."""

    def __init__(self, recipe: Recipe, directory: Path, show: Show, world: World):
        self.recipe, self.directory, self.show, self.world = recipe, directory, show, world
        self.writes = world.rank == 0
        """Whether this rank is the one."""
        self._lock: Lock | None = None
        self._changed: list[str] = []

    def claim(self, resume: bool) -> list[str]:
        """Makes the directory this run's; gives sentences on what has changed in it.

        Raises FileExistsError when that holds a run and `resume` is off, InUse when another run writes there.
        """
        return self.world.first(partial(self._claim, resume))

    def _claim(self, resume: bool) -> list[str]:
        self._lock = Lock(self.directory, self.show.says)
        try:
            self._changed = claim_directory(self.directory, self.recipe, resume)
            sweep(self.directory)
        except BaseException:
            self._lock.release()
            raise
        return self._changed

    def newest(self) -> Path | None:
        """The newest checkpoint that is as it was written; those after it are set aside."""
        return self.world.first(self._newest)

    def _newest(self) -> Path | None:
        saved, damaged = sound(self.directory)
        if saved is not None:
            for folder, error in damaged:
                instead = f"going on from {saved.name} (the other is now {set_aside(folder).name})"
                self.show.finding("warn", f"{error}; {instead}")
        return saved

    def compare(
        self, resumed: dict[str, Any] | None, history: Sequence[dict[str, Any]], accept: bool
    ) -> dict[str, Any]:
        """Says what has changed since the checkpoint or the start; gives what the run is made with now.

        Raises Changed if it must be accepted.
        """
        return self.world.first(partial(self._compare, resumed, history, accept))

    def _compare(
        self, resumed: dict[str, Any] | None, history: Sequence[dict[str, Any]], accept: bool
    ) -> dict[str, Any]:
        for level, sentence in compared(self.recipe, self.directory, resumed, history, accept):
            if sentence not in self._changed:
                self.show.finding(level, sentence)
        made = made_with(self.recipe)
        if not resumed:
            begin(self.directory, made)
        return made

    def verify(self, step: int, over: Sequence[str], accept: bool) -> None:
        """Looks whether the record is as it was written, up to `step` and of the phases that are `over`.

        Raises Damaged unless that is to be accepted.
        """
        self.world.first(partial(self._verify, step, over, accept))

    def _verify(self, step: int, over: Sequence[str], accept: bool) -> None:
        for damage in verify(self.directory, step, over, accept):
            self.show.finding("warn", damage)

    def drop_rollouts(self, after: int) -> None:
        """Deletes the record of steps after this one, which are made again, and what a kill left over."""
        if self.writes:
            cut(self.directory / "rollouts", after)
            self._tidy()

    def save(self, policy: Any, log: Log, state: dict[str, Any]) -> None:
        """Writes a checkpoint of the present weights, the log and `state`."""
        self.world.first(partial(self._save, policy, log, state))

    def _save(self, policy: Any, log: Log, state: dict[str, Any]) -> None:
        assert self._lock is not None
        state = {**state, **log.state_dict()}
        self._lock.check()
        log.flush()
        if write_checkpoint(self.directory, log.step, policy, state, self.recipe.keep_checkpoints):
            self._tidy()

    def _tidy(self) -> None:
        """Deletes and merges what no resume needs; nothing is left to do the second time."""
        delete_old(self.directory, self.recipe.keep_checkpoints)
        forget(self.directory / "journal", list(self.recipe.phases), *reached(self.directory))
        merge(self.directory / "rollouts", oldest(self.directory))

    def close(self) -> str:
        """Writes the report and lets the directory go; the report's path, or why there is none."""
        if self._lock is None:
            return "none, rank 0 writes it"
        try:
            return report_of(self.directory)
        finally:  # somebody may stop the report too
            self._lock.release()
