"""Send metrics to dashboards: TensorBoard, Weights & Biases, trackio.

Each is an extra (`pip install '.[wandb]'` in a clone), imported only when a recipe names it. metrics.jsonl is
written with or without them and is what every other part of oneloop reads. Not here: rollouts, pictures.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oneloop.core.extras import MissingExtra
from oneloop.recipe.recipe import Tracker

Hook = Callable[[dict[str, Any]], None]


def tracker(name: Tracker, run: str, directory: Path) -> Hook:
    """A hook for `Metrics` that sends the numbers of a line on. Raises MissingExtra."""
    if name == "tensorboard":
        writer = _import("torch.utils.tensorboard", name).SummaryWriter(str(directory / "tensorboard"))

        def add(values: dict[str, Any]) -> None:
            for metric, value in numbers(values).items():
                writer.add_scalar(metric, value, values.get("step"))

        return add
    module = _import(name, name)
    module.init(project="oneloop", name=run, **({"dir": str(directory)} if name == "wandb" else {}))
    return lambda values: module.log(numbers(values), step=values.get("step"))


def require(trackers: Sequence[Tracker]) -> None:
    """Raises MissingExtra where one of them is not installed; imports none of them."""
    for name in trackers:
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(f"trackers: {name}", f"the package {name}", name)


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """The numeric metrics of a line; those of an evaluation under `eval/<mode>/`."""
    head = f"eval/{values['mode']}/" if values.get("kind") == "eval" else ""
    kept = {key: value for key, value in values.items() if isinstance(value, int | float) and key != "step"}
    return {head + key: float(value) for key, value in kept.items()}


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"trackers: {extra}", f"the package {extra}", extra) from error
