"""What tesseract reads on a picture of a word: an independent reader, which learned on other data.

    accuracy = 1 - character error rate, at least 0        `tesseract --psm 8`, which takes each for one word

It is a program of its own (packages tesseract-ocr of Debian and Ubuntu, tesseract of Homebrew), called on
files in a temporary folder, with a limit on its time. It reads print; of handwriting it gets much wrong, so
its score of real words belongs beside that of generated ones.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.extras import MissingExtra
from oneloop.core.orphans import tied
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.core.scratch import Scratch
from oneloop.core.verdicts import JudgeError, Verdict, columns
from oneloop.measure.edit_distance import character_error_rate

HEIGHT, ROOM = 64, 16
"""Height in pixels to which words are scaled up, and pixels of paper around them; tesseract wants both."""
PAGE_BREAK = "\f"


@part(
    reads=("output", "example"),
    writes=lambda self: (f"reward.{self.name}", f"error.{self.name}", f"extra.{self.name}", "correct"),
)
class Tesseract:
    """1 - character error rate of what tesseract reads, at least 0; it has no gradient."""

    language: Annotated[str, Field(pattern=r"^[A-Za-z_+]+$")] = "eng"
    """Language data that tesseract reads with, such as eng, deu, or eng+deu."""
    column: Annotated[str, Field(min_length=1)] = "prompt"
    """Column of the data that has the text."""
    ignore_case: bool = False
    """Whether capitals and small letters count as the same."""
    seconds: Annotated[float, Field(gt=0)] = 10.0
    """Time that one picture may take; a slower one is an error of the judge."""
    pictures_per_call: Annotated[int, Field(ge=1)] = 64
    """Pictures that one process reads."""
    program: Annotated[str, Field(min_length=1)] = "tesseract"
    """Name or path of the program."""
    name: Annotated[str, Field(min_length=1, pattern=r"^[^.]*$")] = "tesseract"
    """Name of the columns this judge writes."""
    weight: float = 1.0
    """Weight in `reward`; 0: only logged."""
    no_gradient: ClassVar[str] = "tesseract is another program, and its mistakes are counted"

    @cached_property
    def _path(self) -> str:
        """Path of the program. Raises JudgeError, with what to install, where there is none."""
        found = shutil.which(self.program)
        if found is None:
            raise JudgeError(
                f"judge '{self.name}' needs the program {self.program}: install your system's package, "
                "such as tesseract-ocr of Debian and Ubuntu"
            )
        return found

    @torch.no_grad()
    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`extra.<name>` has the `text` that was read and its `cer`. Raises JudgeError for a row without a
        text, without the program, and without its language."""
        texts = [
            self._text(row, key) for row, key in zip(rollouts.example, rollouts.key.tolist(), strict=True)
        ]
        read: list[str | None] = []
        for start in range(0, len(texts), self.pictures_per_call):
            read += self.read(list(rollouts.output[start : start + self.pictures_per_call]))
        rates = [
            None if said is None else self._rate(said, text) for said, text in zip(read, texts, strict=True)
        ]
        slow = f"tesseract took more than {self.seconds:g} s a picture"
        verdicts = [Verdict(error=slow) if rate is None else Verdict(max(0.0, 1 - rate)) for rate in rates]
        extra = [{"text": said, "cer": rate} for said, rate in zip(read, rates, strict=True)]
        right = [float("nan") if rate is None else float(rate == 0) for rate in rates]
        written = {**columns(self.name, verdicts), f"extra.{self.name}": extra}
        return rollouts.put(written, correct=torch.tensor(right, dtype=torch.float64))

    def read(self, images: Sequence[Tensor]) -> list[str | None]:
        """What is read on pictures [C, H, W] in [0, 1], in one process; all None if it takes too long.

        Raises JudgeError with tesseract's own words when it fails.
        """
        if not images:
            return []
        with Scratch() as folder:
            files = [Path(folder) / f"{place}.png" for place in range(len(images))]
            for file, image in zip(files, images, strict=True):
                written(image).save(file)
            (Path(folder) / "list.txt").write_text("".join(f"{file}\n" for file in files))
            words = [
                self._path,
                str(Path(folder) / "list.txt"),
                "stdout",
                "--psm",
                "8",
                "-l",
                self.language,
            ]
            # more threads than one slow it down, and its answers come in the same order anyway
            alone = os.environ | {"OMP_THREAD_LIMIT": "1"}
            try:
                asked = subprocess.run(
                    tied(words), capture_output=True, timeout=self.seconds * len(images), env=alone
                )
            except subprocess.TimeoutExpired:
                return [None] * len(images)
        pages = asked.stdout.decode(errors="replace").split(PAGE_BREAK)
        if asked.returncode or len(pages) != len(images):
            said = asked.stderr.decode(errors="replace").strip().splitlines()
            raise JudgeError(
                f"judge '{self.name}': tesseract failed with code {asked.returncode} on {len(images)} "
                "pictures: "
                f"{'; '.join(said[-3:]) or 'it says nothing'}"
            )
        return ["".join(page.split()) for page in pages]

    def _rate(self, read: str, text: str) -> float:
        if self.ignore_case:
            read, text = read.casefold(), text.casefold()
        return character_error_rate(read, text)

    def _text(self, row: dict[str, Any], key: int) -> str:
        text = row.get(self.column)
        if not isinstance(text, str) or not text:
            raise JudgeError(
                f"judge '{self.name}' needs a text in the column '{self.column}' of data row {key}"
            )
        return text


def written(image: Tensor) -> Any:
    """A grey Pillow picture of [C, H, W] in [0, 1], `HEIGHT` pixels high at least, with paper around it."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtra("judge.tesseract", "pillow", "images") from error
    pixels = (image.float().mean(0).clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8)
    made = Image.fromarray(pixels)
    if made.height < HEIGHT:
        made = made.resize((round(made.width * HEIGHT / made.height), HEIGHT), Image.Resampling.BICUBIC)
    return ImageOps.expand(made, ROOM, 255)
