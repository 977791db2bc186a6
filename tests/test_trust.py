"""What docs/trust.md says is held by a test is held by one that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "trust.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_named_test_is_there():
    gone = [
        f"{file}::{name}"
        for file, name in NAMED.findall(PAGE)
        if not (ROOT / file).is_file()
        or not re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert gone == []


def test_every_line_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    heads = [line for line in rows if line == "| what can go wrong | what oneloop does | tests |"]
    assert len(heads) == PAGE.count("\n## ") and len(rows) - len(heads) > 80
    assert [line for line in rows if line not in heads and not NAMED.search(line.split(" | ")[-1])] == []
    told = [line.split(" | ")[0] for line in rows if line not in heads]
    assert len(told) == len(set(told))
