"""The comparison of `oneloop compare` as a table for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from oneloop.measure.statistics.comparison import MODES
from oneloop.report.compare_page import UNITS, amount, difference, score


def compare_table(found: Mapping[str, Any]) -> Table:
    """One row a recipe. `found`: what compare.json holds."""
    rows = found["recipes"]
    title = (
        f"{found['sentence']} {found['seeds']} seeds; held-out {found['measure']}, differences"
        f"{' in points' if found['measure'] == 'accuracy' else ''}, 95 % intervals paired by seed"
    )
    drawn = Table(title=title, title_justify="left")
    drawn.add_column("recipe")
    units = [unit for unit in rows[0]["spent"] if any(row["spent"][unit] for row in rows)]
    for column in ("sampled", "difference", "greedy", "difference", *(UNITS[unit] for unit in units)):
        drawn.add_column(column, justify="right")
    for row in rows:
        cells = []
        for mode in MODES:
            cells.append(_cell(*score(row[mode]["score"], found["measure"])))
            cells.append(
                "" if row is rows[0] else _cell(*difference(row[mode]["difference"], found["measure"]))
            )
        drawn.add_row(escape(row["recipe"]), *cells, *(amount(row["spent"][unit]) for unit in units))
    return drawn


def _cell(value: str, interval: str) -> str:
    return f"{value}\n{interval}" if interval else value
