"""Measures handwriting models that are trained already, beside what needs no training, and draws them.

    oneloop fit reader -o readers/other --who all --vocabulary all --steps 1200 --seed 1
    oneloop fit hands -o readers/hands --who all --steps 1200 --seed 2
    python -m benchmarks.claims.one_dm.trained runs/one_dm --reader readers/other --hands readers/hands

The words are those of the claim: held-out ones, in the hands of unseen writers. Columns and baselines:
`benchmarks.claims.one_dm.measures`. `--figure FILE` draws the first words of each unseen writer: reference,
the real word, and the word that each model wrote.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from torch import Tensor

from benchmarks.claims.one_dm import setting
from benchmarks.claims.one_dm.measures import Judges, dull, fitted, measured
from oneloop.models.flow.one_dm import OneDm
from oneloop.models.judges.ctc_reader import CtcReader
from oneloop.models.judges.hand_classifier import HandClassifier
from oneloop.run.checkpoint import locate
from oneloop.sample.policies.flow import Flow

EACH, COLUMNS, SCALE = 2, 2, 3
"""Words of each writer in a figure, words beside one another, and pixels to a side of one."""


def main(
    models: Annotated[list[str], typer.Argument(help="Runs, checkpoints or folders of models.")],
    reader: Annotated[Path, typer.Option(help="Folder of a reader of all fonts.")],
    hands: Annotated[Path, typer.Option(help="Folder of a classifier of all fonts.")],
    figure: Annotated[Path | None, typer.Option(help="PNG file to draw.")] = None,
) -> None:
    """Measure trained models of the recipe one_dm."""
    judges, rows = Judges(CtcReader.load(reader), HandClassifier.load(hands)), setting.rows()
    written = {model: by(model) for model in models}
    for name, pictures in {**dull(rows, 0), **written}.items():
        found = measured(judges, pictures, rows)
        print(name, ", ".join(f"{column} {value:.3f}" for column, value in found.items()), flush=True)
    if figure is not None:
        drawn(rows, list(written.values())).save(figure, optimize=True)


def by(model: str) -> Tensor:
    """[n, 1, H, W], the words that are tested, as a trained model writes them."""
    part = OneDm(folder=str(locate(model)[0]))
    return setting.written(Flow(model=part, steps=setting.CALLS, noise="ode", device="cpu").open())[0]


def drawn(rows: list[Any], written: list[Tensor]) -> Any:
    """A Pillow picture: reference, real word and each model's word, the first `EACH` of each writer."""
    taken: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        taken.setdefault(row["writer_name"], []).append(place)
    places = [place for name in sorted(taken) for place in taken[name][:EACH]]
    strips = [
        np.concatenate([cell(each) for each in pictures_of(rows[place], [w[place, 0] for w in written])], 1)
        for place in places
    ]
    columns = [np.concatenate(strips[start::COLUMNS]) for start in range(COLUMNS)]
    page = np.concatenate(columns, 1)
    grey = Image.fromarray((page.clip(0, 1) * 255).round().astype(np.uint8))
    return grey.resize((SCALE * page.shape[1], SCALE * page.shape[0]), Image.Resampling.BICUBIC)


def pictures_of(row: Any, made: list[Tensor]) -> list[np.ndarray]:
    """Reference, real word and the words that were made, each [H, W]."""
    return [fitted(row["reference"][0]), fitted(row["image"][0]), *(each.numpy() for each in made)]


def cell(picture: np.ndarray) -> np.ndarray:
    """A picture with paper around."""
    return np.pad(picture, ((2, 2), (4, 4)), constant_values=1.0)


if __name__ == "__main__":
    typer.run(main)
