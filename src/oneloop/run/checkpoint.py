"""Checkpoints: `checkpoint-N/`, a normal Hugging Face (or PEFT) folder, plus `loop/`, all a resume needs.

A folder appears whole or not at all (see `storage`); a full disk or a kill leaves the one before usable.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from oneloop.core import storage


def write_checkpoint(directory: Path, step: int, policy: Any, state: dict[str, Any], keep: int) -> bool:
    """Writes `directory/checkpoint-<step>` and deletes all but the newest `keep`; whether it did.

    One that is there already stays: the same run follows from it (no step was made since).
    Raises OSError (a full disk, say) with the earlier checkpoints untouched.
    """
    folder = directory / f"checkpoint-{step}"
    if folder.exists():
        return False

    def write(temporary: Path) -> None:
        policy.save(temporary)
        (temporary / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_metric": None}))
        loop = temporary / "loop"
        loop.mkdir()
        storage.write_state(loop, {**state, "policy": policy.state_dict()})

    try:
        storage.write_folder(folder, write)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"cannot save {folder} ({error}); the checkpoint before it is whole: "
            f"make room and continue the run with --resume"
        ) from error
    for old in checkpoints(directory)[:-keep]:
        storage.delete_folder(old)
    return True


def checkpoints(directory: Path) -> list[Path]:
    """Whole checkpoints in a run directory, oldest first."""
    found = [path for path in directory.glob("checkpoint-*") if (path / "loop" / storage.STRUCTURE).exists()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def read_checkpoint(folder: Path, policy: Any) -> dict[str, Any]:
    """The loop's state; the policy is restored on the way."""
    state: dict[str, Any] = storage.read_state(folder / "loop")
    policy.restore(folder, state.pop("policy"))
    return state


def locate(model: str) -> tuple[str, Path | None]:
    """(folder or hub name, the recipe it was trained with): a run stands for its newest checkpoint.

    Raises ValueError for a run without one.
    """
    path = Path(model)
    if not path.is_dir():
        return model, None
    if (path / "metrics.jsonl").exists():
        if not checkpoints(path):
            raise ValueError(f"the run {path} has no checkpoint yet")
        path = checkpoints(path)[-1]
    beside = path.parent / "recipe.yaml"
    return str(path), beside if beside.exists() else None
