"""For elastic policies: the score of greedy answers against FLOPs a token, before and after each phase."""

from markupsafe import Markup

from oneloop.measure.statistics.scores import ENDS
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import colour, figure
from oneloop.report.run_directory import Record, RunDirectory


def by_cost(run: RunDirectory) -> Markup | None:
    """An SVG with a curve for each moment at which subnets were measured; None for a run without any."""
    rows = [row for row in run.budgets if row["mode"] == "greedy" and row["when"] != "during"]
    if not rows:
        return None
    measure = "accuracy" if any("accuracy" in row for row in rows) else "reward"
    low, high = ENDS[measure]
    moments: dict[str, list[Record]] = {}
    for row in sorted(rows, key=lambda row: int(row["flops_per_token"])):
        if measure in row:
            moments.setdefault(f"{row['when']} {row['phase']}", []).append(row)
    curves = [
        Curve(
            moment,
            colour(place),
            [(row["flops_per_token"] / 1000, row[measure]) for row in found],
            [(row[low], row[high]) for row in found],
            [moment] * len(found),
        )
        for place, (moment, found) in enumerate(moments.items())
    ]
    panel = Panel(
        "budgets", f"{measure} by thousand FLOPs a token", "", curves, percent=measure == "accuracy"
    )
    last = max(int(row["flops_per_token"]) for row in rows) / 1000
    return Markup(figure("Score by cost", "greedy, whiskers 95 %", [panel], round(last + 0.5)))
