"""Pictures of words in a folder for each writer: `anna/hello.png`, or any names with a list of texts.

Without `labels` a file's name is its text; `_` and a number at its end tell several apart (`hello_2.png`).
Capitals, accents and signs that no file name takes need the list: a CSV or TSV file, or JSON lines, with the
columns `file` (below the folder) and `text`. What a row holds: `oneloop.sample.data.handwriting.rows`.
"""

import re
from functools import cached_property
from pathlib import Path

from oneloop.core.part import part
from oneloop.sample.data.files.located import load
from oneloop.sample.data.handwriting import options
from oneloop.sample.data.handwriting.scanned import Sample, ScannedRows, ScannedWords, Split

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@part(paper="arXiv 2409.04004")
class WriterFolders(ScannedRows):
    """Words in the folders of their writers, each with two other words in the same hand."""

    folder: str
    """Folder with one folder of pictures for each writer."""
    labels: str | None = None
    """File below `folder` with the columns file and text; None: names of files are their texts."""
    longest: options.Longest = 9
    height: options.Height = 64
    width: options.Width = None
    writers: options.WriterChoice = "seen"
    vocabulary: options.VocabularyChoice = "known"
    unseen: options.Unseen = 0.25
    held_out: options.HeldOut = 0.2
    seed: options.Seed = 0

    @cached_property
    def _words(self) -> ScannedWords:
        folder = Path(self.folder)
        samples, left_out = read_folders(folder, self.labels)
        split = Split(self.writers, self.vocabulary, self.unseen, self.held_out)
        return ScannedWords(samples, split, self.longest, f"writer_folders of {folder}", left_out)


def read_folders(folder: Path, labels: str | None) -> tuple[list[Sample], list[str]]:
    """(the words of all writers, what was left out in words). Raises ValueError when there are none."""
    found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in ENDINGS)
    if not found:
        why = "has no pictures in folders of writers" if folder.is_dir() else "is no folder"
        raise ValueError(f"{folder} {why} ({', '.join(ENDINGS)})")
    if labels is None:
        samples = [Sample(path, re.sub(r"_\d+$", "", path.stem), path.parent.name) for path in found]
        return samples, []
    texts = read_labels(folder, labels)
    known = [path for path in found if path.relative_to(folder).as_posix() in texts]
    without = len(found) - len(known)
    left_out = [f"{without} pictures without a text in {labels}" if without else ""]
    return [
        Sample(path, texts[path.relative_to(folder).as_posix()], path.parent.name) for path in known
    ], left_out


def read_labels(folder: Path, labels: str) -> dict[str, str]:
    """{file below the folder: its text}.

    Raises ValueError, naming the line, for a file that is not there or a row without file or text.
    """
    table, texts = load(str(folder / labels), "train"), dict[str, str]()
    for key in range(len(table)):
        row = table[key]
        file, text = row.get("file"), row.get("text")
        if not isinstance(file, str) or not isinstance(text, str) or not text:
            raise ValueError(f"{table.place(key)}: needs a file and a text, got {dict(row)!r:.80}")
        if not (folder / file).is_file():
            raise ValueError(f"{table.place(key)}: no such file below {folder}: {file}")
        texts[Path(file).as_posix()] = text
    return texts
