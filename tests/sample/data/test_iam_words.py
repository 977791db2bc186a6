import numpy as np
import pytest

from oneloop.core.identity import fingerprint
from oneloop.sample.data.handwriting.splits import is_held_out_word
from oneloop.sample.data.iam_words import IamWords
from tests.sample.data.handwriting.words_on_disk import write_word

FORMS = {"a01-000u": "000", "a01-003": "000", "b02-001": "001", "c03-000": "002", "c03-001x": "003"}
TEXTS = ["the", "sea", "is", "wide", "and", "MOVE"]


@pytest.fixture
def iam(tmp_path):
    """Four writers, of whom 003 has written one word."""
    lines = ["#--- words.txt ---", "# a01-000u-00-00 ok 154 1 408 768 27 51 AT A"]
    for form in FORMS:
        for number, text in enumerate(TEXTS[:1] if form == "c03-001x" else TEXTS):
            name = f"{form}-00-{number:02}"
            lines.append(f"{name} ok 154 408 768 27 51 AT {text}")
            write_word(tmp_path / "words" / form[:3] / form / f"{name}.png", text)
    lines.append("b02-001-01-00 err 154 408 768 27 51 AT broken")
    lines.append("b02-001-01-01 ok 154 408 768 27 51 AT away")
    (tmp_path / "ascii").mkdir()
    (tmp_path / "ascii" / "words.txt").write_text("\n".join(lines) + "\n")
    forms = "\n".join(f"{form} {writer} 2 prt 7 5 52 36" for form, writer in FORMS.items())
    (tmp_path / "ascii" / "forms.txt").write_text(f"#--- forms.txt ---\n{forms}\n")
    return tmp_path


def test_rows_of_the_layout(iam):
    data = IamWords(folder=str(iam), height=16, held_out=0, writers="all")
    with pytest.warns(UserWarning) as said:
        assert len(data) == 24
    assert str(said[0].message) == (
        f"iam_words of {iam}: left out: 1 words marked err; 1 words whose pictures are not there; "
        "1 words of 1 writers with no other word to refer to"
    )
    row = data[0]
    assert (row["prompt"], row["writer"], row["writer_name"]) == ("the", 0, "000")
    assert row["image"].shape == (1, 16, round(44 * 16 / 24)) and row["width"] == row["image"].shape[2]
    assert data.place(0).endswith("words/a01/a01-000u/a01-000u-00-00.png")
    assert {data[key]["writer_name"] for key in range(24)} == {"000", "001", "002"}
    assert fingerprint(data) == fingerprint(IamWords(folder=str(iam), height=16, held_out=0, writers="all"))


@pytest.mark.filterwarnings("ignore:iam_words")
def test_writers_and_words_are_split(iam):
    def rows(**options):
        data = IamWords(folder=str(iam), height=8, unseen=0.5, held_out=0.4, **options)
        return [data[key] for key in range(len(data))]

    seen, unseen = rows(), rows(writers="unseen")
    assert {row["writer_name"] for row in seen}.isdisjoint(row["writer_name"] for row in unseen)
    held = rows(writers="all", vocabulary="held_out")
    assert held and all(is_held_out_word(row["prompt"], 0.4) for row in held)
    assert not any(is_held_out_word(row["prompt"], 0.4) for row in seen + unseen)


@pytest.mark.filterwarnings("ignore:iam_words")
def test_the_reference_is_never_the_target(iam):
    """Each word of a form has a width of its own, so equal pictures would be equal widths and ink."""
    data = IamWords(folder=str(iam), height=16, held_out=0, writers="all", vocabulary="all")
    for key in range(len(data)):
        row = data[key]
        if row["writer_name"] == "000":
            continue  # has written every word twice
        shown = [row[name] for name in ("image", "reference", "positive")]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert shown[a].shape != shown[b].shape or not np.array_equal(shown[a], shown[b])


@pytest.mark.filterwarnings("ignore:iam_words")
def test_files_that_cannot_be_used_are_named(iam):
    path = iam / "words" / "b02" / "b02-001" / "b02-001-00-01.png"
    data = IamWords(folder=str(iam), held_out=0, writers="all")
    key = next(key for key in range(len(data)) if data.place(key) == str(path))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="b02-001-00-01.png cannot be read as a picture"):
        data[key]
    write_word(path, "sea", ink=255, paper=0)
    with pytest.raises(ValueError, match="b02-001-00-01.png shows ink that is lighter"):
        data[key]
    with pytest.raises(ValueError, match=r"a01-000u-00-00.png is 117 pixels wide .* width is 100"):
        IamWords(folder=str(iam), held_out=0, writers="all", width=100)[0]
    with pytest.raises(IndexError, match="there are 24 words"):
        data[24]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("words.txt", None, "has no words.txt, nor has its folder ascii"),
        ("forms.txt", None, "has no forms.txt"),
        ("words.txt", "a01-000u-00-00 ok 154\n", "words.txt line 1 has no 9 fields: a01-000u-00-00 ok 154"),
        ("words.txt", "z99-000-00-00 ok 154 4 7 2 5 AT A\n", "line 1 names a form that forms.txt does not"),
        ("words.txt", "a01-000u-99-99 ok 154 4 7 2 5 AT A\n", "lists no word whose picture is in"),
        ("forms.txt", "a01-000u\n", "forms.txt line 1 has no writer"),
    ],
)
def test_lists_that_are_missing_or_malformed(iam, name, text, said):
    (iam / "ascii" / name).unlink()
    if text is not None:
        (iam / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        len(IamWords(folder=str(iam)))
