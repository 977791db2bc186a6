"""Fonts from a registry that is a dictionary here: fetched once, checked, resumed, told when missing."""

import base64
import hashlib
import io
import tarfile

import httpx
import pytest

from oneloop.cli import fetch as command
from oneloop.cli.font_packages import CannotFetch, FontPackage, fetch_fonts, font_packages
from oneloop.run.terminal import Terminal
from oneloop.sample.data.handwriting_fonts import HandwritingFonts
from tests.support.fonts import pillow_font

REGISTRY = "https://registry.example"
NAMES = ("anna", "ben", "carl")


def tarball(name, font, licence=b"SIL Open Font License"):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for path, content in (
            (f"package/files/{name}-latin-400-normal.woff2", font),
            ("package/LICENSE", licence),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def package(name, content, font):
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return FontPackage(
        name, "5.0.0", f"sha512-{digest}", hashlib.sha256(font).hexdigest(), len(content), "OFL-1.1"
    )


@pytest.fixture
def shelf():
    """(packages, {url: tarball}, urls asked for, a client)."""
    contents = {name: tarball(name, pillow_font()) for name in NAMES}
    packages = [package(name, contents[name], pillow_font()) for name in NAMES]
    kept = {each.url(REGISTRY): contents[each.name] for each in packages}
    asked = []

    def answer(request):
        asked.append(str(request.url))
        content = kept.get(str(request.url))
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        yield packages, kept, asked, client


def test_fonts_and_licences_are_fetched_once(shelf, tmp_path):
    packages, _, asked, client = shelf
    assert fetch_fonts(tmp_path, packages, client, REGISTRY, Terminal(quiet=True)) == 3
    assert asked[0] == "https://registry.example/@fontsource/anna/-/anna-5.0.0.tgz"
    assert (tmp_path / "ben.woff2").read_bytes() == pillow_font()
    assert (tmp_path / "licences" / "ben.txt").read_text() == "SIL Open Font License"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"{name}.woff2" for name in NAMES),
        "licences",
    ]
    assert fetch_fonts(tmp_path, packages, client, REGISTRY, Terminal(quiet=True)) == 0
    (tmp_path / "ben.woff2").write_bytes(pillow_font()[:100])  # half a file, of another program
    assert fetch_fonts(tmp_path, packages, client, REGISTRY, Terminal(quiet=True)) == 1
    assert len(asked) == 4 and (tmp_path / "ben.woff2").read_bytes() == pillow_font()
    assert [hand.name for hand in HandwritingFonts(folder=str(tmp_path), writers="all").hands] == list(NAMES)


def test_what_fails_is_told_and_the_rest_is_kept(shelf, tmp_path):
    packages, kept, asked, client = shelf
    del kept[packages[0].url(REGISTRY)]
    kept[packages[2].url(REGISTRY)] += b"more"
    with pytest.raises(CannotFetch) as caught:
        fetch_fonts(tmp_path, packages, client, REGISTRY, Terminal(quiet=True))
    said = str(caught.value)
    assert "2 of 3 fonts could not be had: anna: https://registry.example/@fontsource/anna" in said
    assert "answers 404 Not Found" in said and "carl" in said and "is not the package: its SHA-512 is" in said
    assert "the same command fetches those that are missing" in said
    assert (tmp_path / "ben.woff2").is_file() and not (tmp_path / "carl.woff2").exists()
    assert len(asked) == 3


def test_a_registry_that_is_not_there(shelf, tmp_path):
    packages, *_ = shelf

    def unreachable(request):
        raise httpx.ConnectError("Name or service not known")

    with (
        httpx.Client(transport=httpx.MockTransport(unreachable)) as client,
        pytest.raises(CannotFetch, match="cannot be reached: Name or service not known"),
    ):
        fetch_fonts(tmp_path, packages, client, REGISTRY, Terminal(quiet=True))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive", "cannot be opened"),
        (tarball("other", b"font"), "cannot be opened: .*anna-latin-400"),
        (tarball("anna", b"another font"), "is not the font"),
        (tarball("anna", b"font", licence=b""), "no licence beside it"),
    ],
)
def test_packages_with_something_else_in_them(tmp_path, content, said):
    answer = httpx.MockTransport(lambda request: httpx.Response(200, content=content))
    wanted = package("anna", content, b"font")
    with httpx.Client(transport=answer) as client, pytest.raises(CannotFetch, match=said):
        fetch_fonts(tmp_path, [wanted], client, REGISTRY, Terminal(quiet=True))
    assert not (tmp_path / "anna.woff2").exists()


def test_the_packages_that_are_listed():
    listed = font_packages()
    assert len(listed) == 49 and len({each.name for each in listed}) == 49
    for each in listed:
        assert len(base64.b64decode(each.integrity.removeprefix("sha512-"))) == 64
        assert len(bytes.fromhex(each.sha256)) == 32 and each.licence in ("OFL-1.1", "Apache-2.0")


def test_the_command_writes_where_the_data_look(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    called = []
    monkeypatch.setattr(command, "fetch_fonts", lambda *given: called.append(given[0]) or 40)
    code, out, _ = oneloop("fetch", "handwriting-fonts")
    assert code == 0 and [str(folder) for folder in called] == [HandwritingFonts().folder]
    assert "fetched 40, 9 were there; their licences are in fonts/handwriting/licences" in " ".join(
        out.split()
    )
