import warnings

import numpy as np
import pytest

from oneloop.core.identity import fingerprint
from oneloop.sample.data.handwriting.splits import is_held_out_word
from oneloop.sample.data.handwriting_fonts import HandwritingFonts
from tests.support.fonts import font_folder

NAMES = ("anna", "ben", "carl", "dora")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(font_folder(tmp_path_factory.mktemp("fonts"), NAMES))


def test_rows_are_a_function_of_seed_and_number(folder):
    one, again = (HandwritingFonts(folder=folder, height=32, size=6) for _ in range(2))
    assert fingerprint(one) == fingerprint(again)
    assert fingerprint(one) != fingerprint(HandwritingFonts(folder=folder, height=32, size=6, seed=1))
    row = one[3]
    assert np.array_equal(row["image"], again[3]["image"])
    for name in ("image", "reference", "positive"):
        assert row[name].dtype == np.float32 and row[name].shape[:2] == (1, 32)
        assert row[name].min() < 0.3 and row[name].max() > 0.9
    assert row["width"] == row["image"].shape[2]
    assert NAMES[row["writer"]] == row["writer_name"]
    with pytest.raises(IndexError, match="row 6: there are 6 words"):
        one[6]


def test_unseen_writers_and_held_out_words_are_apart(folder, monkeypatch):
    monkeypatch.setattr(HandwritingFonts, "drawn", lambda *_: np.ones((16, 9), np.float32))
    rows = {
        (writers, vocabulary): [
            data[key]
            for data in [
                HandwritingFonts(
                    folder=folder, height=16, size=40, writers=writers, vocabulary=vocabulary, unseen=0.5
                )
            ]
            for key in range(40)
        ]
        for writers in ("seen", "unseen")
        for vocabulary in ("known", "held_out")
    }
    who = {pair: {row["writer_name"] for row in found} for pair, found in rows.items()}
    assert who["seen", "known"] == who["seen", "held_out"]
    assert who["seen", "known"].isdisjoint(who["unseen", "known"])
    assert len(who["seen", "known"] | who["unseen", "known"]) == 4
    for (_, vocabulary), found in rows.items():
        assert {is_held_out_word(row["prompt"], 0.2) for row in found} == {vocabulary == "held_out"}


def test_references_are_other_known_words(folder, monkeypatch):
    data = HandwritingFonts(folder=folder, words=("ab", "cd", "ef"), held_out=0, size=60, height=8)
    shown = []
    drawn = HandwritingFonts.drawn
    monkeypatch.setattr(
        HandwritingFonts,
        "drawn",
        lambda self, hand, word, draw: shown.append((hand.name, word)) or drawn(self, hand, word, draw),
    )
    for key in range(60):
        shown.clear()
        row = data[key]
        assert {name for name, _ in shown} == {row["writer_name"]}
        assert sorted(word for _, word in shown) == ["ab", "cd", "ef"]  # three different ones


def test_targets_are_padded_with_paper(folder):
    data = HandwritingFonts(folder=folder, height=16, width=80, size=8, held_out=0, words=("a", "to", "the"))
    for key in range(8):
        row = data[key]
        assert row["image"].shape == (1, 16, 80) and row["width"] < 80
        assert (row["image"][..., row["width"] :] == 1).all()


def test_what_is_left_out_is_counted(folder):
    words = ("a", "to", "the", "then", "immeasurable", "mmmmmmm", "漢字")
    data = HandwritingFonts(folder=folder, height=16, width=48, words=words, held_out=0, writers="all")
    with pytest.warns(UserWarning) as said:
        assert [hand.targets for hand in data.hands] == [["a", "to", "the", "then"]] * 4
    assert "1 words are longer than 9 characters; 8 pairs of font and word" in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.hands) == 4  # said once


def test_folders_and_words_that_cannot_be_used(folder, tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder.*oneloop fetch handwriting-fonts"):
        HandwritingFonts(folder="nowhere")[0]
    with pytest.raises(ValueError, match="words: each is one word without spaces, got 'a b'"):
        HandwritingFonts(folder=folder, words=("a b",))
    (tmp_path / "broken.woff2").write_bytes(b"wOF2")
    with pytest.raises(ValueError, match="broken.woff2 cannot be read as a font"):
        HandwritingFonts(folder=str(tmp_path), writers="all")[0]
    with (
        pytest.warns(UserWarning, match="3 fonts write fewer than three"),
        pytest.raises(ValueError, match="no font of"),
    ):
        HandwritingFonts(folder=folder, words=("a", "b"), held_out=0)[0]
