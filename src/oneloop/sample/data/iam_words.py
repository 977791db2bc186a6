"""Words of the IAM Handwriting Database, in the layout in which it is handed out.

    words.txt   one line a word: id, ok or err, threshold, box (4 numbers), tag, text
    forms.txt   one line a form: id, writer, ...
    words/      a01/a01-000u/a01-000u-00-00.png for the word a01-000u-00-00

Both lists may lie in `ascii/`. Words whose segmentation is marked `err` are left out and counted. The
database is free for research alone; it is not fetched here. What a row holds:
`oneloop.sample.data.handwriting.rows`.
"""

from functools import cached_property
from pathlib import Path

from oneloop.core.part import part
from oneloop.sample.data.handwriting import options
from oneloop.sample.data.handwriting.scanned import Sample, ScannedRows, ScannedWords, Split

FIELDS = 9
"""Fields of a line of words.txt, the text last."""


@part(paper="arXiv 2409.04004")
class IamWords(ScannedRows):
    """Words of writers of the IAM database in `folder`, each with two other words in the same hand."""

    folder: str
    """Folder with words.txt, forms.txt and words/."""
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
        samples, left_out = read_words(folder)
        split = Split(self.writers, self.vocabulary, self.unseen, self.held_out)
        return ScannedWords(samples, split, self.longest, f"iam_words of {folder}", left_out)


def read_words(folder: Path) -> tuple[list[Sample], list[str]]:
    """(the words that are there, what was left out in words).

    Raises ValueError, naming file and line, for lists that are missing or malformed, and for no words at all.
    """
    writers = {}
    for number, fields in listed(folder, "forms.txt"):
        if len(fields) < 2:
            raise ValueError(f"{folder}: forms.txt line {number} has no writer: {' '.join(fields):.80}")
        writers[fields[0]] = fields[1]
    samples, errors, missing = [], 0, 0
    for number, fields in listed(folder, "words.txt"):
        form = "-".join(fields[0].split("-")[:2])
        if len(fields) < FIELDS or form not in writers:
            why = (
                "names a form that forms.txt does not" if len(fields) >= FIELDS else f"has no {FIELDS} fields"
            )
            raise ValueError(f"{folder}: words.txt line {number} {why}: {' '.join(fields):.80}")
        path = folder / "words" / form.split("-")[0] / form / f"{fields[0]}.png"
        if fields[1] == "err":
            errors += 1
        elif not path.is_file():
            missing += 1
        else:
            samples.append(Sample(path, " ".join(fields[FIELDS - 1 :]), writers[form]))
    if not samples:
        raise ValueError(f"{folder}: words.txt lists no word whose picture is in {folder / 'words'}")
    left_out = [f"{errors} words marked err" if errors else ""]
    return samples, [*left_out, f"{missing} words whose pictures are not there" if missing else ""]


def listed(folder: Path, name: str) -> list[tuple[int, list[str]]]:
    """(line number, fields) of each line of a list that is no comment.

    Raises ValueError when it is missing.
    """
    path = next((path for path in (folder / name, folder / "ascii" / name) if path.is_file()), None)
    if path is None:
        raise ValueError(f"{folder} has no {name}, nor has its folder ascii; IAM's own layout is needed")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None
    return [
        (number, line.split())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
