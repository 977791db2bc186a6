import numpy as np
import pytest

from oneloop.report.handwriting_page import WriterSamples, Written, marked, sentence


@pytest.mark.parametrize(
    ("read", "text", "pieces"),
    [
        ("cat", "cat", [("cat", "right")]),
        ("cet", "cat", [("c", "right"), ("e", "wrong"), ("t", "right")]),
        ("ct", "cat", [("c", "right"), ("a", "missing"), ("t", "right")]),
        ("caat", "cat", [("ca", "right"), ("a", "extra"), ("t", "right")]),
        ("", "cat", [("cat", "missing")]),
    ],
)
def test_mistakes_of_a_reader_are_marked(read, text, pieces):
    assert marked(read, text) == pieces


def hand(name, words, real_read):
    """A writer of a real word `ab`, and what was written in that hand: (read, nearest writer)."""
    paper = np.ones((4, 6), dtype=np.float32)
    written = [Written(paper, "cd", read, [(near, 0.5)] if near else []) for read, near in words]
    return WriterSamples(name, paper[None], paper[None], real_read, "ab", written)


def test_the_result_counts_own_hands_and_words_that_are_read_right():
    hands = [
        hand("ann", [("cd", "ann"), ("cx", "ann")], "ab"),
        hand("bo", [("cd", "ann"), ("cd", "bo")], "a"),
    ]
    assert sentence(hands) == (
        "4 words in 2 hands; 3 look most like their own writer to the model itself. "
        "The reader reads 3 of them right, and 1 of 2 real words."
    )
    unread = [hand("ann", [(None, "ann"), (None, "")], None)]
    assert sentence(unread).endswith(
        "1 look most like their own writer to the model itself. Nothing read them."
    )
