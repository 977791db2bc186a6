"""Turns a panel into the geometry of an SVG chart: ticks, paths and marks in pixels. The template draws it.

Long curves are averaged to MOST_POINTS before drawing; curves of SMOOTH_FROM points or more get a running
mean on top of the faint raw curve. Lines never connect across phases.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from oneloop.report.curves import Curve, Panel, Point

WIDTH, HEIGHT = 400, 190
LEFT, RIGHT, TOP, BOTTOM = 42, 394, 18, 166
MOST_POINTS = 400
SMOOTH_FROM = 30

Phase = tuple[str, int, int]


@dataclass(frozen=True)
class Mark:
    """One evaluation: a dot with its interval as a bar."""

    x: float
    y: float
    low: float
    high: float
    colour: str
    when: str


@dataclass(frozen=True)
class Drawing:
    """Everything the template needs to draw one chart, in pixels of a WIDTH x HEIGHT box."""

    panel: Panel
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    bands: list[tuple[float, float, str]]
    levels: list[tuple[float, str]]
    paths: list[tuple[str, str]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    legend: list[tuple[str, str, str]] = field(default_factory=list)


def draw(panel: Panel, domain: tuple[float, float], phases: list[Phase]) -> Drawing:
    """Lay `panel` out over the steps of `domain` (first, last), shared by all charts of a page."""
    y_ticks = ticks(*_range(panel), count=4)
    x = _scale(domain[0], domain[1], LEFT, RIGHT)
    y = _scale(y_ticks[0], y_ticks[-1], BOTTOM, TOP)
    whole = [tick for tick in ticks(*domain, count=6) if float(tick).is_integer()]
    drawing = Drawing(
        panel,
        x_ticks=[(x(tick), label(tick)) for tick in whole if domain[0] <= tick <= domain[1]],
        y_ticks=[(y(tick), label(tick, panel.percent)) for tick in y_ticks],
        bands=_bands(phases, x),
        levels=[(y(value), text) for value, text in panel.levels],
    )
    if panel.stacked:
        drawing.paths.extend(_stack(panel.lines, phases, x, y))
    for line in panel.lines:
        drawing.legend.append((line.name, line.colour, label(line.points[-1][1], panel.percent, exact=True)))
        if line.marks and line.bars:
            drawing.marks.extend(_marks(line, x, y))
        if not panel.stacked:
            drawing.paths.extend(_curve(line, phases, x, y))
    return drawing


def _range(panel: Panel) -> tuple[float, float]:
    """Lowest and highest value to show; from 0 unless the values are far from it or below."""
    values = [value for line in panel.lines for _, value in line.points]
    values += [end for line in panel.lines for bar in line.bars or () for end in bar]
    values += [value for value, _ in panel.levels]
    if panel.stacked:
        values = [
            sum(column) for column in zip(*([v for _, v in line.points] for line in panel.lines), strict=True)
        ]
    low, high = min(values), max(values)
    if -0.01 * high <= low < 0:
        low = 0.0
    if low >= 0 and (low < 0.6 * high or panel.percent or panel.stacked):
        low = 0.0
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from at or below `low` to at or above `high`, by 1, 2 or 5 x 10^k."""
    rough = (high - low) / count or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, max(last, first + 1) + 1)]


def label(value: float, percent: bool = False, exact: bool = False) -> str:
    """A tick's text: 40%, 0.25, 12k, 1.5M, 5e-6; `exact` gives three digits instead of a round number."""
    if percent:
        return f"{100 * value:.1f}%" if exact else f"{round(100 * value, 6):g}%"
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    text = f"{value:.3g}" if exact else f"{round(value, 12):g}"
    return text.replace("e-0", "e-").replace("-", "\u2212", 1) if value < 0 else text.replace("e-0", "e-")


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: round(start + (value - low) / span * (end - start), 2)


def _bands(phases: list[Phase], x: Callable[[float], float]) -> list[tuple[float, float, str]]:
    """(left, width, name) of each phase; neighbours meet halfway between their steps."""
    edges = [LEFT, *(x((a[2] + b[1]) / 2) for a, b in zip(phases, phases[1:], strict=False)), RIGHT]
    return [(edges[i], round(edges[i + 1] - edges[i], 2), phase[0]) for i, phase in enumerate(phases)]


def _pieces(points: list[Point], phases: list[Phase]) -> Iterable[list[Point]]:
    """The points of each phase apart; evaluations before the first step belong to the phase they open."""
    for index, (_, first, last) in enumerate(phases):
        piece = [p for p in points if (index == 0 or p[0] >= first) and p[0] <= last]
        if piece:
            yield thinned(piece)


def thinned(points: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points: means of equally many neighbours each."""
    width = math.ceil(len(points) / most)
    buckets = [points[i : i + width] for i in range(0, len(points), width)]
    return [tuple(sum(column) / len(bucket) for column in zip(*bucket, strict=True)) for bucket in buckets]  # type: ignore[misc]


def smoothed(points: list[Point]) -> list[Point]:
    """Centred running mean over about a twelfth of the curve; narrower at the ends."""
    reach = max(1, len(points) // 24)
    values = [value for _, value in points]
    windows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [(points[i][0], sum(window) / len(window)) for i, window in enumerate(windows)]


def _curve(
    line: Curve, phases: list[Phase], x: Callable[[float], float], y: Callable[[float], float]
) -> Iterable[tuple[str, str]]:
    """(css classes, path) of one line: raw, and smoothed where it is long enough to need it."""
    if line.marks:
        yield f"line {line.colour}", _path(line.points, x, y)
        return
    for piece in _pieces(line.points, phases):
        if len(piece) < SMOOTH_FROM:
            yield f"line {line.colour}", _path(piece, x, y)
        else:
            yield f"line raw {line.colour}", _path(piece, x, y)
            yield f"line {line.colour}", _path(smoothed(piece), x, y)


def _stack(
    lines: list[Curve], phases: list[Phase], x: Callable[[float], float], y: Callable[[float], float]
) -> Iterable[tuple[str, str]]:
    """Areas on top of one another, each phase apart."""
    layers = [list(_pieces(line.points, phases)) for line in lines]
    for columns in zip(*layers, strict=True):
        floor = [(step, 0.0) for step, _ in columns[0]]
        for line, piece in zip(lines, columns, strict=True):
            roof = [(step, value + below) for (step, value), (_, below) in zip(piece, floor, strict=True)]
            yield (
                f"area {line.colour}",
                _path(roof, x, y) + _path(floor[::-1], x, y).replace("M", "L", 1) + "Z",
            )
            floor = roof


def _path(points: list[Point], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    if len(points) == 1:
        # A single point is drawn as a dash, since a path of one point shows nothing.
        return f"M{x(points[0][0]) - 3:g},{y(points[0][1]):g}h6"
    return "M" + "L".join(f"{x(step):g},{y(value):g}" for step, value in points)


def _marks(line: Curve, x: Callable[[float], float], y: Callable[[float], float]) -> Iterable[Mark]:
    for (step, value), (low, high), when in zip(line.points, line.bars or [], line.marks or [], strict=True):
        yield Mark(x(step), y(value), y(low), y(high), line.colour, when)
