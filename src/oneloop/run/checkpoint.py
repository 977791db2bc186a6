"""Checkpoints: `checkpoint-N/`, a normal Hugging Face (or PEFT) folder, plus `loop/`, all a resume needs.

Many ranks write the learner's tensors into `optimizer/`, each its part (`oneloop.parallel.ranks.stored`).

A folder appears whole or not at all (see `storage`); a full disk or a kill leaves the one before usable.
One that was damaged later is found by its checksums, and a run goes on from the one before it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from oneloop.core import storage
from oneloop.core.named import model_named
from oneloop.update.not_finite import NotFinite

TRAINER = "trainer_state.json"
FORM = 3
"""Form of what `loop/` holds; it grows with each change after which versions cannot read one another's."""
PARTS = "optimizer"
Parts = Callable[[Path], None]
"""Has all ranks write their parts of the learner's tensors into a folder."""


def write_checkpoint(
    directory: Path, step: int, policy: Any, state: dict[str, Any], keep: int, parts: Parts | None = None
) -> bool:
    """Writes `directory/checkpoint-<step>` and deletes all but the newest `keep`; whether it did.

    A `state` with `passing` is of a run stopped between two checkpoints: this one goes with the next,
    so that in the end the run leaves what it leaves when it is not stopped.
    One that is there already stays: the same run follows from it (no step was made since). Raises OSError (a
    full disk, say) with the earlier checkpoints untouched, and NotFinite for weights that are NaN or
    infinite.
    """
    folder = directory / f"checkpoint-{step}"
    if folder in checkpoints(directory):
        return False
    if folder.exists():  # it has the name of a checkpoint and is none
        storage.set_aside(folder)

    def write(temporary: Path) -> None:
        policy.save(temporary)
        if name := _not_finite(temporary):
            good = [path.name for path in checkpoints(directory)]
            before = f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint before it"
            raise NotFinite(
                f"the weights are not finite numbers after step {step} ({name}), so {folder.name} is not "
                f"written; {before}. Lower learner.learning_rate or learner.max_grad_norm in a new run"
            )
        reached = {"form": FORM, "phase": state.get("phase", 0), "asks": state.get("asks", 0)}
        reached |= {"passing": True} if state.get("passing") else {}
        (temporary / TRAINER).write_text(json.dumps({"global_step": step, "best_metric": None, **reached}))
        if parts is not None:
            parts(temporary / PARTS)
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
    delete_old(directory, keep)
    return True


def delete_old(directory: Path, keep: int) -> None:
    """Deletes all checkpoints but the newest `keep`, and passing ones that are not the newest."""
    found = checkpoints(directory)
    passed = [
        path for path in found[:-1] if json.loads((path / TRAINER).read_text(encoding="utf-8")).get("passing")
    ]
    for old in [*passed, *[path for path in found if path not in passed][:-keep]]:
        storage.delete_folder(old)


def _not_finite(folder: Path) -> str:
    """Name of the first tensor of the saved weights that holds NaN or infinity; "" without any."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no dictionary
                tensor = file.get_tensor(name)
                if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                    return str(name)
    return ""


def checkpoints(directory: Path) -> list[Path]:
    """Whole checkpoints in a run directory, oldest first; checkpoint-6.bak, say, is none."""
    found = storage.numbered(directory, "checkpoint-{}").values()
    return [path for path in found if (path / "loop" / storage.STRUCTURE).exists()]


def sound(directory: Path) -> tuple[Path | None, list[tuple[Path, storage.Damaged]]]:
    """(the newest checkpoint that is as it was written, the damaged ones after it); None without any.

    Raises Damaged when there are checkpoints and all of them are damaged.
    """
    damaged: list[tuple[Path, storage.Damaged]] = []
    for folder in reversed(checkpoints(directory)):
        try:
            storage.check_folder(folder)
            _check_step(folder)
        except storage.Damaged as error:
            damaged.append((folder, error))
        else:
            return folder, damaged
    if damaged:
        words = "; ".join(str(error) for _, error in damaged)
        raise storage.Damaged(
            f"every checkpoint of {directory} is damaged: {words}. "
            "Bring one back from a copy, or start again in another directory"
        )
    return None, []


def _check_step(folder: Path) -> None:
    """Raises Damaged for a copy of a checkpoint under the number of another."""
    step = json.loads((folder / TRAINER).read_text(encoding="utf-8"))["global_step"]
    if folder.name != f"checkpoint-{step}":
        raise storage.Damaged(f"{folder.name} is a copy of checkpoint-{step}")


def reached(directory: Path) -> tuple[int, int]:
    """(phase, asks answered in it) of the oldest checkpoint: what a run may fall back to."""
    found = [json.loads((path / TRAINER).read_text(encoding="utf-8")) for path in checkpoints(directory)]
    return min(((state["phase"], state["asks"]) for state in found), default=(0, 0))


def oldest(directory: Path) -> int:
    """The step of the oldest checkpoint; 0 without any."""
    return min(storage.numbered(directory, "checkpoint-{}"), default=0)


def read_checkpoint(folder: Path, policy: Any) -> dict[str, Any]:
    """The loop's state; the policy is restored on the way. Raises Damaged for another version's form."""
    if json.loads((folder / TRAINER).read_text(encoding="utf-8")).get("form") != FORM:
        raise storage.Damaged(
            f"{folder} was saved by another version of oneloop, in a form that this one does not read: "
            "resume with that version, or start a new run from these weights"
        )
    state: dict[str, Any] = storage.read_state(folder / "loop")
    policy.restore(folder, state.pop("policy"))
    learner = learner_of(state)
    if learner is not None and learner["tensors"] is None:
        learner["tensors"] = folder / PARTS
    return state


def learner_of(state: dict[str, Any]) -> dict[str, Any] | None:
    """The learner's state in a checkpoint's, of a phase in progress or at its end; None without one."""
    found: dict[str, Any] | None = {**state.get("extend", {}), **state}.get("learner")
    return found


def locate(model: str) -> tuple[str, Path | None]:
    """(folder or hub name, the recipe it was trained with): a run stands for its newest checkpoint.

    Raises ValueError for a run without one, Damaged for one that is not as it was written, and NoSuchModel
    for a folder that is not there.
    """
    path = Path(model)
    if not path.is_dir():
        return model_named(model), None
    if (path / "metrics.jsonl").exists():
        if not checkpoints(path):
            raise ValueError(f"the run {path} has no checkpoint yet")
        path = checkpoints(path)[-1]
    if (path / storage.CHECKSUMS).exists():
        # what only a resume reads may be missing from a folder that was passed on
        gone = [name for name in ("loop", PARTS, TRAINER) if not (path / name).exists()]
        try:
            storage.check_folder(path, without=gone)
        except storage.Damaged as error:
            raise storage.Damaged(f"{error}; if you changed it, delete {path / storage.CHECKSUMS}") from None
    beside = path.resolve().parent / "recipe.yaml"
    return str(path), beside if beside.exists() else None
