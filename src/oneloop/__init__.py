"""oneloop: one loop that trains generative models from sampled experience.

    import oneloop

    run = oneloop.train("quickstart", ["steps=20"])     a recipe that ships, a YAML file, or a dict
    print(run.history[-1]["reward"], run.report)
    print(oneloop.generate(str(run.directory), "3 + 4 = "))
    print(oneloop.rank(pool))                           models from scores on single samples

Names are imported when they are first used: `import oneloop` itself loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oneloop.core.part import part as part
    from oneloop.core.rollouts import Rollouts as Rollouts
    from oneloop.measure.ranking import rank as rank
    from oneloop.recipe.recipe import load_recipe as load_recipe
    from oneloop.run.generate import generate as generate
    from oneloop.run.run import Run as Run
    from oneloop.run.start import train as train

__version__ = "0.1.0"
"""The one place that states it; pyproject.toml reads it here."""

HOMES = {
    "Rollouts": "oneloop.core.rollouts",
    "Run": "oneloop.run.run",
    "generate": "oneloop.run.generate",
    "load_recipe": "oneloop.recipe.recipe",
    "part": "oneloop.core.part",
    "rank": "oneloop.measure.ranking",
    "train": "oneloop.run.start",
}
"""The public names, and the module that each comes from."""


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'oneloop' has no attribute '{name}'; it has {', '.join(HOMES)}")
    found = globals()[name] = getattr(import_module(HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
