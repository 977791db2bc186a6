"""Pictures of words in files, drawn by Pillow's own font."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont


def write_word(path: Path, text: str, lean: int = 0, ink: int = 0, paper: int = 255) -> None:
    """A picture of `text`, 24 pixels high; writers may be told apart by `lean` more pixels of paper."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (12 * len(text) + 8 + lean, 24), paper)
    ImageDraw.Draw(image).text((4 + lean, 2), text, fill=ink, font=ImageFont.load_default(16))
    image.save(path)
