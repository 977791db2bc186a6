"""The wheel holds all that the package needs, and works away from the clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from oneloop.recipe.text import shipped

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The wheel of a copy of the clone, unpacked."""
    source, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    # --no-build-isolation: setuptools is here already, and nothing is downloaded
    words = ["wheel", str(source), "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (wheel,) = folder.glob("oneloop-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def inside(folder):
    """The files of the package, without what Python and editors leave behind."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if "__pycache__" not in path.parts and not path.name.startswith(".")}


def test_every_file_of_the_package_is_inside(unpacked):
    found = inside(unpacked / "oneloop")
    assert inside(ROOT / "src" / "oneloop") == found
    assert {"py.typed", "cli/methods.json", "report/templates/report.html"} <= found
    assert {f"recipe/shipped/{name}.yaml" for name in shipped()} <= found


def test_no_test_or_benchmark_is_inside(unpacked):
    assert {path.name.partition("-")[0] for path in unpacked.iterdir()} == {"oneloop"}


COMMANDS = {
    "recipes": "quickstart",
    "list": "arXiv",
    "copy quickstart mine.yaml": "written: mine.yaml",
    "parts credit": "group_relative",
    "train sft --dry-run": "the recipe is valid",
}
"""What each says."""
START = """
import sys
import oneloop.cli.main as cli
assert cli.__file__.startswith(sys.argv[1])
for words in sys.argv[2:]:
    sys.argv = ["oneloop", *words.split()]
    try:
        cli.main()
    except SystemExit as ended:
        assert not ended.code, words
    print("after", words, flush=True)
"""


def test_it_works_away_from_the_clone(unpacked, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    line = [sys.executable, "-c", START, str(unpacked), *COMMANDS]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rest = done.stdout
    for words, said in COMMANDS.items():
        of_it, _, rest = rest.partition(f"after {words}\n")
        assert said in of_it, words
