"""A figure that stands alone: panels of curves, at most three in a row, in one SVG file for any browser."""

from collections.abc import Sequence
from pathlib import Path

from oneloop.core.storage import replace_file
from oneloop.report import plot
from oneloop.report.curves import Panel
from oneloop.report.template import filled

COLOURS = ("#2a6cb0", "#c4620f", "#2f8a78", "#8a4fb0", "#94979c", "#b3261e", "#7a6a1e", "var(--ink, #1d1f21)")
"""Colours of the lines c0, c1, ...; from the ninth line on they repeat."""
GAP, HEAD, ROW, TITLE = 24, 84, 18, 48
MOST = 3
"""Panels side by side; four stand two by two."""


def colour(place: int) -> str:
    """Name of the colour of line number `place` of a panel: c0, c1, ..."""
    return f"c{place % len(COLOURS)}"


def write_figure(path: Path, title: str, about: str, panels: Sequence[Panel], last: int) -> Path:
    """Draws `panels` over the steps 0 to `last` and writes `path`, whole or not at all; gives the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, figure(title, about, panels, last))
    return path


def figure(title: str, about: str, panels: Sequence[Panel], last: int) -> str:
    """The SVG as text."""
    drawings = [plot.draw(panel, (0, last), [("", 0, last)]) for panel in panels]
    legend = max(len(drawing.legend) for drawing in drawings)
    across = 2 if len(drawings) == 4 else min(MOST, len(drawings))
    down, high = -(-len(drawings) // across), plot.HEIGHT + ROW * legend
    return filled(
        "figure.svg",
        title=title,
        about=about,
        drawings=drawings,
        plot=plot,
        colours=COLOURS,
        gap=GAP,
        head=HEAD,
        row=ROW,
        across=across,
        step=high + TITLE,
        width=across * (plot.WIDTH + GAP) + GAP,
        height=HEAD + (down - 1) * (high + TITLE) + high + GAP,
    )
