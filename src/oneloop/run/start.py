"""Training from Python in one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oneloop.parallel.ranks.join import joined
from oneloop.recipe.recipe import Recipe, load_recipe
from oneloop.run.directories import free_directory
from oneloop.run.progress import Show
from oneloop.run.run import Run


def train(
    recipe: Recipe | Path | str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    directory: Path | str | None = None,
    resume: bool = False,
    show: Show | None = None,
) -> Run:
    """Trains `recipe` and gives the finished run: `history`, `policy`, `directory`, `report`.

    `recipe`: the name of a recipe that ships, a YAML file, a dict, or a Recipe. `overrides`: `path=value`, as
    on the command line. `directory`: where the run is written; the default is runs/NAME, then runs/NAME-2
    and so on. `resume`: go on with the run in `directory`. `show`: draws progress; Show(quiet=True) draws
    nothing. Of processes that `torchrun` has started each becomes a rank of the same run.
    Raises RecipeError for what is wrong with the recipe, FileExistsError where `directory` holds another run,
    ValueError where there is nothing to resume or a Recipe cannot take overrides.
    """
    if isinstance(recipe, Recipe):
        if overrides:
            raise ValueError(f"a Recipe that is made takes no overrides, got {', '.join(overrides)}")
        loaded = recipe
    else:
        loaded, notes = load_recipe(recipe, overrides)
        for note in notes:
            (show or Show()).says(f"accepted {note}")
    if resume and directory is None:
        raise ValueError("resume=True needs the directory of the run: directory='runs/NAME'")
    with joined() as world:
        where = world.first(lambda: Path(directory) if directory else free_directory(loaded.name))
        run = Run(loaded, where, resume, show if world.rank == 0 else Show.silent(), world=world)
        run.train()
    return run
