"""Runs that are stopped or killed, and what must hold of their directories."""

from pathlib import Path

import pyarrow.parquet as pq
from safetensors.torch import load_file

from oneloop.core import storage
from oneloop.run.active_phase import IDS
from oneloop.run.checkpoint import checkpoints
from oneloop.run.progress import Show


class Stop(Exception):
    """Somebody stops the run."""


class StopAt(Show):
    """Stops the run at the n-th thing it shows: a step, an evaluation, or tokens being sampled."""

    def __init__(self, number: int, what: str):
        super().__init__(quiet=True)
        self.left, self.what = number, what

    def _count(self, what: str) -> None:
        self.left -= what == self.what
        if self.left == 0 and what == self.what:
            raise Stop

    def step(self, values):
        self._count("step")

    def says(self, sentence):
        self._count("says")

    def tokens(self, tokens, finished):
        self._count("tokens")


class Heard(Show):
    """Draws nothing and remembers what was found."""

    def __init__(self):
        super().__init__(quiet=True)
        self.heard: list[str] = []

    def finding(self, level, sentence):
        self.heard.append(f"{level} {sentence}")


def assert_nothing_corrupt(directory: Path) -> None:
    """Whatever has a final name is whole."""
    for path in checkpoints(directory):
        storage.check_folder(path)
        assert storage.read_state(path / "loop")["step"] == int(path.name.removeprefix("checkpoint-"))
        assert load_file(path / "model.safetensors")
    assert checkpoints(directory) == sorted(
        directory.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-"))
    )
    for path in directory.glob("journal/*/ask-*"):
        assert storage.read_entry(path)
    for path in directory.glob("rollouts/*.parquet"):
        pq.read_table(path)


def assert_every_judged_rollout_is_written(directory: Path, in_flight: int = 6 * 4) -> None:
    """Ids of each phase count up from its first without a gap, but for those in flight at the end."""
    tables = [pq.read_table(path).to_pylist() for path in sorted(directory.glob("rollouts/*.parquet"))]
    rows = [(row["phase"], row["id"]) for table in tables for row in table]
    assert len(rows) == len(set(rows)), "no rollout twice"
    numbers = sorted(number - IDS for phase, number in rows if phase == "reinforce")
    plan = storage.read_state(checkpoints(directory)[-1] / "loop")
    assert plan["phase"] == 2
    assert len(numbers) >= numbers[-1] + 1 - in_flight
    trained = [row for table in tables for row in table if row["trained"] and row["phase"] == "reinforce"]
    assert len(trained) == 7 * 2 * 4
