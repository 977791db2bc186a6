"""Checks the size budget: a short root, small files, small functions.

at most 19 entries in the root of the package (.importlinter says which)
file median <= 130 lines, 9 of 10 files <= 250; function median <= 12, 9 of 10 <= 40, none over 80;
tests at least .8 of the source
"""

import ast
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def percentile(values: list[int], share: float) -> int:
    """The value that `share` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def functions(path: Path) -> list[tuple[str, int]]:
    """(name, lines) of every function in a file."""
    found = ast.walk(ast.parse(path.read_text()))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f"{path}:{f.lineno} {f.name}", f.end_lineno - f.lineno + 1) for f in found if isinstance(f, kinds)
    ]


def lines(paths: list[Path]) -> list[int]:
    """Lines of each file."""
    return [len(path.read_text().splitlines()) for path in paths]


def main() -> int:
    """Prints each limit with what was measured; 1 when one is exceeded."""
    source = [path for path in sorted((ROOT / "src").rglob("*.py")) if path.read_text().strip()]
    tests = sorted((ROOT / "tests").rglob("*.py"))
    sizes, measured = lines(source), [item for path in source for item in functions(path)]
    lengths = [size for _, size in measured]
    longest = max(measured, key=lambda item: item[1])
    root = [path for path in (ROOT / "src" / "oneloop").iterdir() if path.name != "__pycache__"]
    limits = [
        ("entries in the root", len(root), 19),
        ("median file", statistics.median(sizes), 130),
        ("90 % of files", percentile(sizes, 0.9), 250),
        ("median function", statistics.median(lengths), 12),
        ("90 % of functions", percentile(lengths, 0.9), 40),
        (f"longest function ({longest[0]})", longest[1], 80),
        ("source lines per .8 test lines", round(0.8 * sum(sizes) / max(1, sum(lines(tests))), 2), 1),
    ]
    for what, got, allowed in limits:
        print(f"{'ok ' if got <= allowed else 'BAD'} {what}: {got} (at most {allowed})")
    print(f"{len(source)} files, {sum(sizes)} lines of source, {sum(lines(tests))} of tests")
    return int(any(got > allowed for _, got, allowed in limits))


if __name__ == "__main__":
    sys.exit(main())
