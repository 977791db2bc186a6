"""An image tokenizer as one HTML file that opens offline: pictures at every length, bytes against quality,
and what each token contributes.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from oneloop.core.storage import replace_file
from oneloop.models.image_tokenizer.contribution import contribution_maps
from oneloop.models.image_tokenizer.packing import packed_size
from oneloop.models.image_tokenizer.quality import psnr
from oneloop.models.image_tokenizer.rate_distortion import RateDistortion
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer
from oneloop.report.curves import Curve, Panel
from oneloop.report.figure import colour, figure
from oneloop.report.page import as_json
from oneloop.report.template import filled

SHOWN = 24
"""Most pictures on the page."""
BESIDE = 12
"""How many times the bytes of all tokens a file of another format may have to be drawn."""


@dataclass(frozen=True)
class CodedPicture:
    """One picture: the original, and for each length its image and its PSNR."""

    original: str
    by_length: list[str]
    quality: list[float]


def write_tokens_page(
    path: Path, tokenizer: OneDTokenizer, images: Tensor, measured: RateDistortion, title: str
) -> Path:
    """Writes the page of `images` [b, C, H, W] to `path` and returns it; all of them were `measured`."""
    shown = [_picture(tokenizer, image) for image in images[:SHOWN]]
    config, maps = tokenizer.config, contribution_maps(tokenizer, images)
    lengths = range(1, config.tokens + 1)
    told = {
        "bytes": [packed_size(length, config.bits) for length in lengths],
        "mean": [point.quality for point in measured.tokens],
        "pictures": [{"images": each.by_length, "quality": each.quality} for each in shown],
    }
    text = filled(
        "tokens.html",
        ("style.css", "tokens.css"),
        ("tokens.js",),
        kind="image tokenizer",
        title=title,
        sentence=sentence(measured, config.bits),
        pictures=shown,
        tokens=config.tokens,
        data=as_json(told),
        rows=rows(measured),
        figure=Markup(_figure(measured, len(images))),
        maps=[address(each) for each in maps / maps.max().clamp(min=1e-12)],
        shares=(maps.sum((1, 2)) / maps.sum().clamp(min=1e-12)).tolist(),
        count=len(images),
    )
    replace_file(path, text)
    return path


def sentence(measured: RateDistortion, bits: int) -> str:
    """The result in one sentence."""
    first, last = measured.tokens[0], measured.tokens[-1]
    return (
        f"{last.length} tokens of {bits} bits give {last.quality:.1f} dB in {last.payload_bytes:.0f} bytes, "
        f"the first alone {first.quality:.1f} dB; the mean image, which costs nothing, "
        f"{measured.mean_image:.1f} dB."
    )


@torch.no_grad()
def _picture(tokenizer: OneDTokenizer, image: Tensor) -> CodedPicture:
    whole = tokenizer.config.tokens
    indices = tokenizer.encode(image[None]).expand(whole, -1)
    made = tokenizer.decode(indices, torch.arange(1, whole + 1))
    quality = psnr(made, image.expand_as(made)).clamp(max=99).tolist()
    return CodedPicture(
        address(image), [address(each) for each in made], [round(each, 2) for each in quality]
    )


def address(image: Tensor) -> str:
    """A picture [H, W] or [C, H, W] in [0, 1] as a PNG in a data address."""
    from PIL import Image

    levels = image.mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    if levels.ndim == 3:
        levels = levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _figure(measured: RateDistortion, count: int) -> str:
    """PSNR against bytes: of the payload alone, and of whole files."""
    panels = []
    most = 0.0
    for key, title, ours in (
        ("payload_bytes", "dB by bytes without container", "payload_bytes"),
        ("file_bytes", f"dB by bytes of a file (ours: {count} images in one)", "shared_bytes"),
    ):
        curves = {"tokens": [(float(getattr(each, ours)), each.quality) for each in measured.tokens]}
        for codec in dict.fromkeys(each.codec for each in measured.codecs):
            own = [each for each in measured.codecs if each.codec == codec and "shrunk" not in each.setting]
            curves[codec] = sorted((float(getattr(each, key)), each.psnr) for each in own)
        limit = BESIDE * measured.tokens[-1].payload_bytes
        curves = {name: [p for p in points if p[0] <= limit] for name, points in curves.items()}
        most = max([most, *(point[0] for points in curves.values() for point in points)])
        lines = [
            Curve(name, colour(place), points)
            for place, (name, points) in enumerate(curves.items())
            if points
        ]
        panels.append(Panel(key, title, "", lines))
    return figure("Quality by bytes", f"means over {count} images", panels, int(np.ceil(most)))


def rows(measured: RateDistortion) -> Sequence[tuple[str, str, float, float, float]]:
    """(what, setting, payload bytes, file bytes, dB) of everything that was measured, fewest bytes first."""
    ours = [
        ("tokens", f"first {each.length}", each.payload_bytes, each.shared_bytes, each.quality)
        for each in measured.tokens
    ]
    theirs = [
        (each.codec, each.setting, each.payload_bytes, each.file_bytes, each.psnr) for each in measured.codecs
    ]
    return [*ours, *sorted(theirs, key=lambda row: (row[0], row[3]))]
