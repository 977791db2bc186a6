"""Bytes, quality and time of a picture as a file: an image tokenizer beside JPEG, WebP and JPEG 2000.

Tokenizers of the claim one_d_piece (tails dropped, seed 0, at the rate that the claim chose) write each
held-out picture with its first K codes. Bytes count the header; `payload` does not; `shared` is one file of
all pictures over their number. `dB` is PSNR. Times are of one picture, the median over `TIMED` of them, from
the pixels to the bytes of a file and back, in memory; `64 at once` is the tokenizer's decoding in batches of
64, a picture. One thread.
    python -m benchmarks.picture_files                       # digits, 8x8
    ONELOOP_EMOJI=package python -m benchmarks.picture_files # emoji, 32x32, too: see benchmarks/claims
"""

import io
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from benchmarks.claims.one_d_piece import every
from benchmarks.claims.one_d_piece.training import DIGITS, EMOJI, FOLDER, Setting, trained
from oneloop.models.image_tokenizer.codecs import QUALITIES, CodecPoint, encoded
from oneloop.models.image_tokenizer.rate_distortion import TokenPoint, rate_distortion
from oneloop.models.image_tokenizer.token_file import from_bytes, to_bytes, token_file
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer
from oneloop.run.environment import hardware

RESULTS = Path(__file__).parent / "results"
TIMED = 64
CLAIMS = {DIGITS.name: "one_d_piece", EMOJI.name: "one_d_piece_emoji"}


def milliseconds(run: Callable[[Any], Any], inputs: list[Any]) -> float:
    """Median wall time of a call, over `inputs`, after one that is not timed."""
    run(inputs[0])
    times = []
    for each in inputs:
        start = time.perf_counter()
        run(each)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def rate(setting: Setting) -> float:
    """The learning rate that the claim found to be best for dropped tails."""
    found = json.loads((RESULTS / f"{CLAIMS[setting.name]}.json").read_text())
    chosen: float = next(arm["chosen"] for arm in found["arms"] if arm["name"] == "tails dropped")
    return chosen


def token_rows(
    setting: Setting, tokenizer: OneDTokenizer, images: Tensor, points: Sequence[TokenPoint]
) -> Iterator[dict[str, Any]]:
    """The tokenizer at each measured length."""
    config, digest, shown = tokenizer.config, tokenizer.digest(), list(images[:TIMED])

    def read(data: bytes) -> Tensor:
        return tokenizer.decode(torch.stack(from_bytes(data, "a file").tokens))

    for point in points:

        def write(image: Tensor, length: int = point.length) -> bytes:
            return to_bytes(token_file([tokenizer.encode(image[None])[0, :length]], config, digest))

        together = [row[: point.length] for row in tokenizer.encode(images[:TIMED])]
        batch = to_bytes(token_file(together, config, digest))
        yield {
            "picture": setting.name,
            "file": f"first {point.length} codes of {config.tokens}",
            "bytes": point.file_bytes,
            "payload": point.payload_bytes,
            "shared": point.shared_bytes,
            "dB": point.quality,
            "encode ms": milliseconds(write, shown),
            "decode ms": milliseconds(read, [write(image) for image in shown]),
            "decode ms, 64 at once": milliseconds(read, [batch] * 9) / TIMED,
        }


def codec_rows(setting: Setting, images: Tensor, points: Sequence[CodecPoint]) -> Iterator[dict[str, Any]]:
    """Every format at every setting, and shrunk at its coarsest."""
    levels = (images[:TIMED] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pictures, full = [Image.fromarray(np.squeeze(each)) for each in levels], images.shape[-1]

    def read(data: bytes) -> Any:
        with Image.open(io.BytesIO(data)) as found:
            return np.asarray(found if found.width == full else found.resize((full, full)))

    for point in points:
        name, _, shrunk = point.setting.partition(", shrunk to ")
        size = int(shrunk or full)
        options = next(each for each in QUALITIES[point.codec] if name.endswith(f" {strength(each)}"))

        def write(
            picture: Image.Image, size: int = size, codec: str = point.codec, options: Any = options
        ) -> bytes:
            small = picture if size == full else picture.resize((size, size), Image.Resampling.BOX)
            return encoded(np.asarray(small), codec, options)

        yield {
            "picture": setting.name,
            "file": f"{point.codec}, {point.setting}",
            "bytes": point.file_bytes,
            "payload": point.payload_bytes,
            "shared": None,
            "dB": point.psnr,
            "encode ms": milliseconds(write, pictures),
            "decode ms": milliseconds(read, [write(picture) for picture in pictures]),
            "decode ms, 64 at once": None,
        }


def strength(options: Mapping[str, Any]) -> int:
    """The number by which a format is told how much to keep."""
    number: int = options["quality"] if "quality" in options else options["quality_layers"][0]
    return number


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for setting in [DIGITS, EMOJI] if FOLDER in os.environ else [DIGITS]:
        with torch.enable_grad():
            made = trained(setting, every(setting), rate(setting), 0, setting.steps)
        images = setting.images()[1]
        points = rate_distortion(made, images, setting.lengths, shrunk=(setting.shrunk,))
        kinds = (
            token_rows(setting, made, images, points.tokens),
            codec_rows(setting, images, points.codecs),
        )
        rows += [row for kind in track(kinds, f"{setting.name}: writing and reading") for row in kind]
    result = {"hardware": hardware(), "timed": TIMED, "rows": rows}
    (RESULTS / "picture_files.json").write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(" | ".join(f"{each:.3g}" if isinstance(each, float) else str(each) for each in row.values()))


if __name__ == "__main__":
    main()
