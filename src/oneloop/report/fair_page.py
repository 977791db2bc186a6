"""Accounts of fair decisions as one HTML file that opens offline: error, reports, regret, bounds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from oneloop.core.storage import replace_file
from oneloop.fair.bounds import regret_bound, violation_bound
from oneloop.fair.play import Round
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import colour, figure
from oneloop.report.template import filled

POINTS = 25
"""Points of each curve, few enough to be drawn one by one."""


@dataclass(frozen=True)
class Accounts:
    """Totals of a stream; errors are shares of people."""

    title: str
    about: str
    people: int
    alpha: float
    measured: dict[str, float]
    best_rule: float
    best_fair: float
    stricter: float
    penalty: float
    cost_bound: Callable[[float], float]
    """Bound of the theory on regret in costs, as a function of the rounds."""

    def regret(self, errors: float, rounds: float) -> float:
        """Wrong decisions beyond those of the best policy that is fair at alpha / 2."""
        return errors - self.stricter * rounds * self.people

    def bounds(self, rounds: float) -> tuple[float, float]:
        """(bound on regret, bound on violating rounds) after `rounds`, with eps = alpha / 2."""
        cost = self.cost_bound(rounds)
        return regret_bound(cost), violation_bound(cost, rounds, self.people, self.penalty, self.alpha / 2)

    def rows(self) -> list[tuple[str, str, str]]:
        """(what, measured, bound) for a table."""
        rounds = self.measured["rounds"]
        regret, violations = self.bounds(rounds)
        reported = self.measured["violating rounds"]
        errors = self.measured["error"] * rounds * self.people
        return [
            ("error", f"{self.measured['error']:.4f}", ""),
            ("best rule in hindsight", f"{self.best_rule:.4f}", ""),
            (f"best policy fair at {self.alpha:g}", f"{self.best_fair:.4f}", ""),
            (f"best policy fair at {self.alpha / 2:g}", f"{self.stricter:.4f}", ""),
            ("regret against the last, errors", f"{self.regret(errors, rounds):.1f}", number(regret)),
            ("violating rounds", f"{reported * rounds:.0f} ({reported:.1%})", number(violations)),
            ("in the last quarter", f"{self.measured['in the last quarter']:.1%}", ""),
            ("mean excess gap", f"{self.measured['mean excess gap']:.4f}", ""),
            ("accepted", f"{self.measured['accepted']:.1%}", ""),
        ]

    def sentence(self) -> str:
        """The result in one sentence."""
        far = self.measured["error"] - self.best_fair
        return (
            f"The panel reported {self.measured['violating rounds']:.1%} of the rounds; the error is "
            f"{self.measured['error']:.3f}, {abs(far):.3f} {'above' if far > 0 else 'below'} that of the "
            "best policy that is fair on all of them."
        )


def number(bound: float) -> str:
    """A bound for a table; "none" where the theory gives no constant."""
    return f"{bound:,.0f}" if math.isfinite(bound) else "none"


def write_fair_page(path: Path, accounts: Accounts, rounds: Sequence[Round]) -> Path:
    """Writes the page to `path` and returns it; regret and violations lie beside it as an SVG."""
    pairs = panels(accounts, rounds)
    pictures = [
        Markup(figure(title, accounts.about, pair, len(rounds)))
        for title, pair in (
            ("Error and reports", pairs[:2]),
            ("Regret and violations, with bounds", pairs[2:]),
        )
    ]
    page = filled(
        "fair.html",
        ("style.css",),
        kind="fair decisions",
        title=accounts.title,
        sentence=accounts.sentence(),
        accounts=accounts,
        pictures=pictures,
    )
    replace_file(path, page)
    replace_file(path.with_suffix(".svg"), pictures[1])
    return path


def panels(accounts: Accounts, rounds: Sequence[Round]) -> list[Panel]:
    """Error so far, share of reports so far, and both sums against their bounds."""
    at = np.unique(np.linspace(1, len(rounds), min(POINTS, len(rounds))).astype(int))
    errors, reports = (
        np.cumsum([getattr(each, name) for each in rounds], dtype=np.float64)
        for name in ("error", "violated")
    )
    made = {
        "error so far": {
            "learner": [errors[t - 1] / (t * accounts.people) for t in at],
            f"best policy fair at {accounts.alpha:g}": [accounts.best_fair] * len(at),
            "best rule": [accounts.best_rule] * len(at),
        },
        "share of rounds reported so far": {"learner": [reports[t - 1] / t for t in at]},
        "regret": {
            "learner": [accounts.regret(errors[t - 1], t) for t in at],
            "bound": [accounts.bounds(t)[0] for t in at],
        },
        "violating rounds": {
            "learner": [reports[t - 1] for t in at],
            "bound": [accounts.bounds(t)[1] for t in at],
        },
    }
    about = {
        "regret": f"Errors beyond the best policy fair at {accounts.alpha / 2:g}.",
        "violating rounds": f"Bound with eps = {accounts.alpha / 2:g}.",
    }
    return [
        Panel(
            title,
            title,
            about.get(title, "By round."),
            [
                Curve(name, colour(place), [(float(t), float(v)) for t, v in zip(at, values, strict=True)])
                for place, (name, values) in enumerate(curves.items())
                if np.isfinite(values).all()
            ],
        )
        for title, curves in made.items()
    ]
