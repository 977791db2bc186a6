"""A figure holds its panels, however many: none leaves it, none covers another."""

import re

import pytest

from oneloop.report import plot
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import figure


@pytest.mark.parametrize(("count", "across"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (7, 3)])
def test_panels_stand_in_rows_inside_the_figure(count, across):
    panels = [Panel(f"p{i}", f"Panel {i}", "", [Curve("line", "c0", [(0, 1), (3, i)])]) for i in range(count)]
    drawn = figure("Title", "about", panels, 3)
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())
    placed = [
        tuple(map(int, each))
        for each in re.findall(r'<g transform="translate\((\d+) (\d+)\)">\s*<text class="name"', drawn)
    ]
    assert len(placed) == count and len({y for _, y in placed}) == -(-count // across)
    assert len({x for x, _ in placed}) == min(across, count)
    assert all(x + plot.WIDTH <= width and y + plot.HEIGHT <= height for x, y in placed)
    for i, (x, y) in enumerate(placed):
        assert all(abs(x - a) >= plot.WIDTH or abs(y - b) >= plot.HEIGHT for a, b in placed[:i])
