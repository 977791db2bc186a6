"""Writes the method index of README.md: the table between its two `<!-- methods -->` markers.

    python .ci/method_index.py            writes it
    python .ci/method_index.py --check    says whether it is up to date, exit code 1 when it is not

One row for each claim of `oneloop.measure.claims.methods()`, with what was last measured
(benchmarks/results/NAME.json, written by `oneloop claim NAME`).
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oneloop.measure.claims import RESULTS, methods

ROOT = Path(__file__).parent.parent
MARKER = "<!-- methods -->"
COLUMNS = (
    "method",
    "paper",
    "parts",
    "recipe",
    "claim",
    "target",
    "measured (95 % interval)",
    "holds",
    "date",
)


def table(found: Sequence[Mapping[str, Any]], root: Path = ROOT) -> str:
    """The Markdown table; a method links to docs/NAME.md where `root` has that page."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(cells(method, root) for method in found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(method: Mapping[str, Any], root: Path) -> tuple[str, ...]:
    """One row as text; what was not measured stays empty."""
    name, page = method["name"], f"docs/{method['name']}.md"
    low, high, holds = (method[key] for key in ("low", "high", "holds"))
    measured = "not measured yet"
    if method["measured"] is not None:
        measured = f"{method['measured']:.2f} ({low:.2f}-{high:.2f}), {method['seeds']} seeds"
    return (
        f"[{name}]({page})" if (root / page).is_file() else name,
        method["paper"],
        ", ".join(f"`{part}`" for part in method["parts"]),
        f"[{method['recipe']}]({method['recipe']})",
        method["claim"],
        f"{method['target']:g}",
        measured,
        "" if holds is None else "yes" if holds else "no",
        method["date"] or "",
    )


def with_index(text: str, index: str) -> str:
    """`text` with `index` between its two markers. Raises ValueError when it has not just two."""
    pieces = text.split(MARKER)
    if len(pieces) != 3:
        raise ValueError(f"README.md must hold {MARKER} twice, around the table, got {len(pieces) - 1}")
    return f"{pieces[0]}{MARKER}\n{index}\n{MARKER}{pieces[2]}"


def main(check: bool) -> int:
    """Writes README.md, or with `check` only compares; 1 when it was not up to date."""
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = with_index(before, table(methods(ROOT / RESULTS)))
    if check and before != after:
        print("the method index of README.md is not up to date; run: python .ci/method_index.py")
        return 1
    if not check:
        readme.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
