"""Fonts for tests, from the one that Pillow carries in itself."""

from pathlib import Path

from PIL import ImageFont


def pillow_font() -> bytes:
    """Aileron Regular, a TTF font of Latin letters."""
    return bytes(ImageFont.load_default(16).font_bytes)


def font_folder(folder: Path, names: tuple[str, ...]) -> Path:
    """`folder` with one font file for each name; all look alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.ttf").write_bytes(pillow_font())
    return folder
