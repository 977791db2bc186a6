"""Files of `oneloop fair`: metrics, and saved states from which a killed run continues to the bit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oneloop.core import storage
from oneloop.fair import play


def line(each: play.Round) -> str:
    """A line of metrics.jsonl."""
    return json.dumps(each.as_dict()) + "\n"


def claim_directory(directory: Path, asked: Mapping[str, Any], resume: bool) -> None:
    """Makes `directory` for a stream with these options. Raises FileExistsError if it holds another one."""
    written, options = directory / "options.json", json.dumps(asked, indent=1, default=str) + "\n"
    if not written.exists():
        storage.replace_file(written, options)
    elif not resume:
        raise FileExistsError(
            f"{directory} holds a run already; continue it with --resume, or give another --run"
        )
    elif written.read_text(encoding="utf-8") != options:
        raise FileExistsError(f"{written} names other options; resume with those, or give another --run")


def saved(directory: Path) -> list[Path]:
    """Saved states, oldest first."""
    return list(storage.numbered(directory, "state-{:08d}").values())


def save(directory: Path, rounds: int, learner: play.OneSidedLearner) -> None:
    """Writes `state-<rounds>` and deletes the others; the metrics up to here are on the disk first."""
    storage.flush(directory / "metrics.jsonl")
    earlier, folder = saved(directory), directory / f"state-{rounds:08d}"
    if folder not in earlier:
        storage.write_folder(folder, lambda path: storage.write_state(path, learner.state_dict()))
    for old in earlier:
        if old != folder:
            storage.delete_folder(old)


def restored(directory: Path, learner: play.OneSidedLearner) -> list[play.Round]:
    """The rounds up to the newest saved state, which `learner` takes over; [] without any."""
    states = saved(directory)
    if not states:
        return []
    storage.check_folder(states[-1])
    learner.load_state_dict(storage.read_state(states[-1]))
    count = int(states[-1].name.removeprefix("state-"))
    lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [play.Round(**json.loads(each)) for each in lines]
