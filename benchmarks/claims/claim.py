"""What a claim is: a method and its rivals, how each is tuned, what is counted, and the number claimed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Row = Mapping[str, float]
"""Columns of one arm on one seed, or of one line of a table."""
Rows = Mapping[str, Row]
Advance = Callable[[str], None]
"""Told once a unit of work is done, with what it was."""
Fraction = tuple[float, float]
"""Numerator and denominator of a headline; `intervals.headline_interval` refuses denominators near zero."""


@dataclass(frozen=True)
class Arm:
    """One method of a claim, and the values among which its best is looked for.

    Raises ValueError for a grid that is too small, not ascending, or with steps wider than a factor of 3.5.
    """

    name: str
    grid: tuple[float, ...] = ()
    """Values of what is tuned, ascending, at least 4; empty: `Claim.at_best` says why there is none."""
    bounds: tuple[float, float] = (0.0, math.inf)
    """Smallest and largest value that makes sense; the grid grows no further."""

    def __post_init__(self) -> None:
        if not self.grid:
            return
        if len(self.grid) < 4:
            raise ValueError(f"arm '{self.name}': a grid needs at least 4 values, got {len(self.grid)}")
        steps = [b / a if a > 0 else math.inf for a, b in zip(self.grid, self.grid[1:], strict=False)]
        if not all(1 < step <= 3.5 for step in steps):
            raise ValueError(
                f"arm '{self.name}': values must rise by factors of at most 3.5, got {self.grid}"
            )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper claims and how it is measured here.

    A tuned claim names its `arms` and trains one at a time (`train`); `run` measures what has no setting.
    """

    paper: str
    """arXiv id or citation."""
    parts: tuple[str, ...]
    """Parts that make the method."""
    recipe: str
    """The recipe that trains with it, or the page that shows how a method without training is used."""
    claim: str
    """What is measured here, in one sentence."""
    says: str = ""
    """What the paper reports, in its own terms."""
    target: float
    """What the headline number must reach."""
    headline: Callable[[Rows], float | Fraction]
    """The number claimed, from one seed's rows; a ratio is returned as its two terms."""
    units: int = 0
    """Units of progress that `run` tells of in one seed."""
    run: Callable[[int, Advance], Rows] | None = None
    """Rows of one seed that need no tuning: {row of the table: {column: number}}."""
    arms: tuple[Arm, ...] = ()
    """The method and its rivals; each becomes a row of the table."""
    train: Callable[[str, float, int], Row] | None = None
    """(arm, value of what is tuned, nan where nothing is, seed) -> its columns, `work` among them."""
    tunes: str = "learning rate"
    """What the arms' grids are values of."""
    score: Callable[[Row], float] | None = None
    """By what an arm's value is chosen, on seeds that are not reported: higher is better."""
    at_best: Mapping[str, str] = field(default_factory=dict)
    """{arm without a grid: why it is measured at its best setting}: that all its settings were tried, or that
    it has none. An arm with neither a grid nor such a sentence is refused."""
    work: str = ""
    """What the column `work` counts, of every arm alike."""
    only_under: str = ""
    """The regime in which the claim holds, if it is not the usual one."""
    found: str = ""
    """What a stronger baseline, the same information or equal work made of it; empty: not tried."""

    def __post_init__(self) -> None:
        if bool(self.arms) != (self.train is not None):
            raise ValueError("a claim with arms says how one is trained, and the other way round")
        if any(arm.grid for arm in self.arms) and self.score is None:
            raise ValueError("a claim whose arms are tuned says by which score")
        if self.arms and not self.work:
            raise ValueError("a claim with arms says what work counts")
        loose = {arm.name for arm in self.arms if not arm.grid}
        if loose != set(self.at_best):
            untold, unknown = sorted(loose - set(self.at_best)), sorted(set(self.at_best) - loose)
            raise ValueError(
                "an arm has a grid, or `at_best` says why it is at its best setting without one: "
                f"nothing is said of {untold}, and these are no arms without a grid: {unknown}"
            )
