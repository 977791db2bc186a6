"""A program that takes tesseract's place and reads a 3 on every picture; it lasts as long as the process."""

import stat
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

KEPT = TemporaryDirectory(prefix="oneloop_stand_in_")
SCRIPT = """#!/bin/sh
awk 'NR > 1 { printf "\\f" } { print "3" }' "$1"
"""


@cache
def program() -> str:
    made = Path(KEPT.name) / "tesseract"
    made.write_text(SCRIPT)
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    return str(made)
