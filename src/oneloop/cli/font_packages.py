"""Gets open handwriting fonts from npm's registry: packages `@fontsource/*`, each a family with its licence.

What is fetched stands in `handwriting_fonts.json`: name, version, the SHA-512 of the package and the SHA-256
of the font file in it. Nothing of a package is installed or run: one font file and the licence are copied.
"""

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from oneloop.core import storage
from oneloop.run.terminal import Terminal

REGISTRY = "https://registry.npmjs.org"
LICENCES = "licences"
"""Folder of the licences, below that of the fonts."""
SECONDS = 60.0
"""Seconds to wait for an answer of the registry."""
SHOWN = 3
"""Failures that an error names one by one."""


class CannotFetch(RuntimeError):
    """Something cannot be had; the message says why."""


class FontPackage(NamedTuple):
    """A package with a font in it."""

    name: str
    """Name behind `@fontsource/`."""
    version: str
    """Version that is fetched."""
    integrity: str
    """`sha512-` and the SHA-512 of the package, in base64, as npm writes it."""
    sha256: str
    """SHA-256 of the font file, in hex."""
    bytes: int
    """Size of the package."""
    licence: str
    """Short name of the font's licence."""

    @property
    def file(self) -> str:
        """The font in the package: Latin letters in upright regular weight."""
        return f"package/files/{self.name}-latin-400-normal.woff2"

    def url(self, registry: str) -> str:
        """Where the registry keeps the package."""
        return f"{registry.rstrip('/')}/@fontsource/{self.name}/-/{self.name}-{self.version}.tgz"


def font_packages() -> list[FontPackage]:
    """The packages that are fetched, by name."""
    text = resources.files("oneloop.cli").joinpath("handwriting_fonts.json").read_text(encoding="utf-8")
    return [FontPackage(**listed) for listed in json.loads(text)]


def fetch_fonts(
    folder: Path, packages: Sequence[FontPackage], client: httpx.Client, registry: str, console: Terminal
) -> int:
    """Writes `folder`/NAME.woff2 and its licence for each of `packages`; how many were downloaded.

    A font that is there and has the right contents is left alone, so an interrupted call is made again.
    Raises CannotFetch, at the end, if some could not be had; the others are there.
    """
    missing = [package for package in packages if not is_there(folder, package)]
    failed: dict[str, str] = {}
    columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("fonts", total=len(missing))
        for number, package in enumerate(missing, 1):
            progress.update(task, description=package.name)
            if not console.is_terminal:
                console.print(f"{number}/{len(missing)} {package.name}", highlight=False)
            try:
                write(folder, package, downloaded(package, client, registry))
            except CannotFetch as error:
                failed[package.name] = str(error)
            progress.advance(task)
    if failed:
        told = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:SHOWN])
        more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        raise CannotFetch(
            f"{len(failed)} of {len(packages)} fonts could not be had: {told}{more}. The others are in "
            f"{folder}; the same command fetches those that are missing"
        )
    return len(missing)


def is_there(folder: Path, package: FontPackage) -> bool:
    """Whether font and licence are in `folder` and the font is the right one."""
    font = folder / f"{package.name}.woff2"
    if not font.is_file() or not (folder / LICENCES / f"{package.name}.txt").is_file():
        return False
    return hashlib.sha256(font.read_bytes()).hexdigest() == package.sha256


def downloaded(package: FontPackage, client: httpx.Client, registry: str) -> bytes:
    """The package. Raises CannotFetch when the registry does not give it, or gives another one."""
    url = package.url(registry)
    try:
        answer = client.get(url, timeout=SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        raise CannotFetch(f"{url} cannot be reached: {error or type(error).__name__}") from None
    if answer.status_code != httpx.codes.OK:
        raise CannotFetch(f"{url} answers {answer.status_code} {answer.reason_phrase}")
    found = "sha512-" + base64.b64encode(hashlib.sha512(answer.content).digest()).decode()
    if found != package.integrity:
        raise CannotFetch(f"{url} is not the package: its SHA-512 is {found}, not {package.integrity}")
    return answer.content


def write(folder: Path, package: FontPackage, content: bytes) -> None:
    """Copies font and licence out of a package. Raises CannotFetch if it lacks them."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            found = [archive.extractfile(name) for name in ("package/LICENSE", package.file)]
            licence, font = (each.read() if each else b"" for each in found)
    except (tarfile.TarError, OSError, KeyError) as error:
        raise CannotFetch(f"the package cannot be opened: {error}") from None
    if hashlib.sha256(font).hexdigest() != package.sha256 or not licence:
        raise CannotFetch(f"{package.file} is not the font, or there is no licence beside it")
    storage.replace_file(folder / LICENCES / f"{package.name}.txt", licence.decode(errors="replace"))
    storage.replace_file(folder / f"{package.name}.woff2", font)
