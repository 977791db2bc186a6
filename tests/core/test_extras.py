"""What an optional package is called and how it comes: the extras named in messages exist."""

import re
import tomllib
from pathlib import Path

from oneloop.core.extras import MissingExtra, command

ROOT = Path(__file__).parents[2]


def test_the_message_has_package_and_command():
    said = str(MissingExtra("plan.data.digits", "scikit-learn", "images"))
    assert said == ("plan.data.digits needs scikit-learn: in your clone of oneloop, pip install '.[images]'")


def test_every_extra_that_is_named_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.compile(r"MissingExtra\([^)]*\"(\w+)\"\)|command\(['\"](\w+)['\"]\)")
    named = {a or b for path in (ROOT / "src").rglob("*.py") for a, b in asked.findall(path.read_text())}
    assert named >= {"images", "encoders"} and named <= set(extras)
    assert command("images").endswith("pip install '.[images]'")
