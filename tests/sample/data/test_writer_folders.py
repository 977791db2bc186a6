import numpy as np
import pytest

from oneloop.sample.data.writer_folders import WriterFolders
from tests.sample.data.handwriting.words_on_disk import write_word


@pytest.fixture
def folder(tmp_path):
    for text in ("hello", "hello_2", "you", "immeasurable"):
        write_word(tmp_path / "anna" / f"{text}.png", text)
    for text in ("one", "two"):
        write_word(tmp_path / "ben" / f"{text}.png", text)
    write_word(tmp_path / "carl" / "alone.png", "alone")
    return tmp_path


def rows(folder, **options):
    data = WriterFolders(folder=str(folder), height=16, held_out=0, **({"writers": "all"} | options))
    return [data[key] for key in range(len(data))]


def test_names_of_files_are_texts(folder):
    with pytest.warns(UserWarning) as said:
        found = rows(folder)
    assert str(said[0].message).endswith(
        "left out: 1 words of more than 9 characters; 1 words of 1 writers with no other word to refer to"
    )
    assert [(row["writer_name"], row["prompt"]) for row in found] == [
        ("anna", "hello"),
        ("anna", "hello"),
        ("anna", "you"),
        ("ben", "one"),
        ("ben", "two"),
    ]
    assert [row["writer"] for row in found] == [0, 0, 0, 1, 1]


@pytest.mark.filterwarnings("ignore:writer_folders")
def test_a_writer_of_two_words_has_two_views_of_one_reference(folder):
    row = next(row for row in rows(folder) if row["prompt"] == "one")
    assert row["reference"].shape == row["positive"].shape
    assert not np.array_equal(row["reference"], row["positive"])
    assert abs(row["reference"].mean() - row["positive"].mean()) < 0.03  # the same ink, leaning


def test_a_list_of_texts(folder):
    text = "file,text\nanna/hello.png,Ça!\nanna/you.png,007\nanna/hello_2.png,NA\n"
    (folder / "labels.csv").write_text(text)
    with pytest.warns(UserWarning, match="4 pictures without a text in labels.csv"):
        found = rows(folder, labels="labels.csv")
    assert [row["prompt"] for row in found] == ["Ça!", "NA", "007"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("anna/nobody.png,a", "no such file below .*: anna/nobody.png"),
        ("anna/you.png,", "needs a file and a text"),
    ],
)
def test_lists_that_do_not_fit(folder, line, said):
    (folder / "labels.csv").write_text(f"file,text\n{line}\n")
    with pytest.raises(ValueError, match=f"labels.csv.*{said}"):
        rows(folder, labels="labels.csv")


@pytest.mark.filterwarnings("ignore:writer_folders")
def test_folders_without_words(folder, tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder"):
        rows(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no pictures in folders of writers"):
        rows(tmp_path / "empty")
    with pytest.raises(ValueError, match="no word is left for writers: all, known words"):
        rows(folder, longest=1)
    with pytest.raises(ValueError, match="no such file: .*none.csv"):
        rows(folder, labels="none.csv")
