"""`oneloop report` waits for no library that it does not need, and reads no more than a step at a time."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oneloop.core import recorded
from oneloop.report.rollout_tables import read_rollouts

UNUSED = ("torch", "transformers", "scipy", "pandas", "pydantic", "sklearn", "oneloop.recipe.recipe")
COMMAND = f"import sys, oneloop.cli.report; print([name for name in {UNUSED} if name in sys.modules])"


def test_it_loads_none_of_the_heavy_libraries():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]", done.stdout


def test_of_many_steps_in_a_file_one_is_read_at_a_time(tmp_path, monkeypatch):
    folder: Path = tmp_path / "rollouts"
    folder.mkdir()
    tokens = [" a", " b"] * 50
    whole = pa.Table.from_pylist(
        [
            {
                "step": step,
                "id": 10 * step + row,
                "group": step,
                "prompt": "p",
                "text": "".join(tokens),
                "reward": float(row),
                "piece": tokens,
                "token": [1, 2] * 50,
                "logprob": np.linspace(-1, 0, 100).tolist(),
            }
            for step in range(1, 101)
            for row in range(4)
        ]
    )
    pq.write_table(whole, folder / "steps-000001-000100.parquet", row_group_size=4)
    read, sizes = recorded.RecordedStep.read, []

    def watched(self, columns=None):
        table = read(self, columns)
        sizes.append(len(table))
        return table

    monkeypatch.setattr(recorded.RecordedStep, "read", watched)
    browser = read_rollouts(folder, budget=40_000)
    assert browser.steps_recorded == 100 and 0 < len(browser.steps) < 100
    assert set(sizes) == {4} and len(sizes) <= len(browser.steps) + 2
