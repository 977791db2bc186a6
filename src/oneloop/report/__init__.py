"""The report of a run: one self-contained `report.html` that opens offline.

run_directory.py reads what a run wrote, rollout_tables.py packs its rollouts for the browser, curves.py says
which curves are drawn, plot.py draws them, headline.py finds before and after, page.py puts the page together
(templates/). Knows nothing of stages.
"""

from oneloop.report.page import write_report
from oneloop.report.run_directory import RunDirectoryError

__all__ = ["RunDirectoryError", "write_report"]
