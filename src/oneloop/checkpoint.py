"""Checkpoints: `checkpoint-N/`, a normal Hugging Face (or PEFT) folder plus `loop/`, everything a resume needs.

A folder appears whole or not at all (see `storage`); a full disk or a kill leaves the one before usable.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from oneloop import storage


def write_checkpoint(directory: Path, step: int, policy: Any, state: dict[str, Any], keep: int) -> Path:
    """Writes `directory/checkpoint-<step>` and deletes all but the newest `keep`.

    Raises OSError (a full disk, say) with the earlier checkpoints untouched.
    """
    folder = directory / f"checkpoint-{step}"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was resumed from before it

    def write(temporary: Path) -> None:
        policy.save(temporary)
        (temporary / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_metric": None}))
        loop = temporary / "loop"
        loop.mkdir()
        storage.write_state(loop, {**state, "policy": policy.state_dict()})

    storage.write_folder(folder, write)
    for old in checkpoints(directory)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def checkpoints(directory: Path) -> list[Path]:
    """Whole checkpoints in a run directory, oldest first."""
    found = [path for path in directory.glob("checkpoint-*") if (path / "loop" / storage.STRUCTURE).exists()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def read_checkpoint(folder: Path, policy: Any) -> dict[str, Any]:
    """The loop's state; the policy is restored on the way."""
    state: dict[str, Any] = storage.read_state(folder / "loop")
    policy.restore(folder, state.pop("policy"))
    return state
