"""For elastic policies: the score of greedy answers against FLOPs a token, before and after each phase."""

from markupsafe import Markup

from oneloop.measure.statistics.scores import ENDS, interval, value
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import colour, figure
from oneloop.report.run_directory import Record, RunDirectory


def by_cost(run: RunDirectory) -> Markup | None:
    """An SVG with a curve for each moment at which subnets were measured; None for a run without scores."""
    greedy = [row for row in run.budgets if row["mode"] == "greedy" and row["when"] != "during"]
    measure = next((one for one in ENDS if any(value(row, one) is not None for row in greedy)), None)
    if measure is None:
        return None
    rows = [row for row in greedy if value(row, measure) is not None]
    moments: dict[str, list[Record]] = {}
    for row in sorted(rows, key=lambda row: int(row["flops_per_token"])):
        moments.setdefault(f"{row['when']} {row['phase']}", []).append(row)
    curves = [
        Curve(
            moment,
            colour(place),
            [(row["flops_per_token"] / 1000, row[measure]) for row in found],
            # where no interval was measured the bar is the point itself
            [interval(row, measure) or (row[measure], row[measure]) for row in found],
            [moment] * len(found),
        )
        for place, (moment, found) in enumerate(moments.items())
    ]
    panel = Panel(
        "budgets", f"{measure} by thousand FLOPs a token", "", curves, percent=measure == "accuracy"
    )
    last = max(int(row["flops_per_token"]) for row in rows) / 1000
    return Markup(figure("Score by cost", "greedy, whiskers 95 %", [panel], round(last + 0.5)))
