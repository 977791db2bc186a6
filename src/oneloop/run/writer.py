"""The directory of a run as the one rank that writes there sees it: claimed, read back, saved to, closed.

All ranks make a `Writer` and call it at once; those beside rank 0 learn what it found, and write nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from oneloop.core.storage import set_aside, sweep
from oneloop.parallel.ranks.stored import write_parts
from oneloop.parallel.ranks.world import World
from oneloop.recipe.recipe import Recipe
from oneloop.run.checkpoint import (
    Parts,
    delete_old,
    learner_of,
    oldest,
    reached,
    sound,
    write_checkpoint,
)
from oneloop.run.checksums import verify
from oneloop.run.directories import claim_directory, report_of
from oneloop.run.journal import forget
from oneloop.run.lock import Lock
from oneloop.run.log import Log
from oneloop.run.made_with import begin, compared, made_with
from oneloop.run.merging import cut, merge
from oneloop.run.own_code import out_of_date
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
        if resume and not (self.directory / "recipe.yaml").exists():
            self.show.says(f"there is no run in {self.directory} to go on with: a new one begins")
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
        for sentence in out_of_date(self.recipe):
            self.show.finding("warn", sentence)
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
        """Writes a checkpoint of the present weights, the log and `state`; many ranks write their tensors of
        the learner each."""
        if self.world.size == 1:
            self._save(policy, log, state)
            return
        state, tensors = _without_tensors(state)
        if self.writes:
            self.world.first(partial(self._save, policy, log, state, partial(self._lead, tensors)))
        elif folder := self.world.first(_nothing):
            with suppress(OSError):  # rank 0 knows of it too, and says it
                write_parts(folder, tensors, self.world.group)
            self.world.first(_nothing)

    def _lead(self, tensors: dict[str, Tensor], folder: Path) -> None:
        """Rank 0 writes its part when all others do."""
        write_parts(self.world.first(lambda: folder), tensors, self.world.group)

    def _save(self, policy: Any, log: Log, state: dict[str, Any], parts: Parts | None = None) -> None:
        assert self._lock is not None
        state = {**state, **log.state_dict()}
        self._lock.check()
        log.flush()
        if write_checkpoint(self.directory, log.step, policy, state, self.recipe.keep_checkpoints, parts):
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


def _without_tensors(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(the state without the learner's tensors, those tensors)."""
    learner = learner_of(state)
    if learner is None or not learner["tensors"]:
        return state, {}
    bare = {"learner": {**learner, "tensors": None}}
    if "learner" in state:
        return state | bare, learner["tensors"]
    return state | {"extend": state["extend"] | bare}, learner["tensors"]


def _nothing() -> Path | None:
    """What rank 0 does here is not what the others do."""
    raise AssertionError("only rank 0 does this")
