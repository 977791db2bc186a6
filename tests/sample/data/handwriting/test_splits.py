import pytest

from oneloop.sample.data.handwriting.splits import chosen_writers, in_vocabulary, is_held_out_word
from oneloop.sample.data.handwriting.word_list import WORDS

NAMES = [f"writer{number}" for number in range(48)]


def test_writers_are_split_by_their_names_alone():
    seen, unseen = (chosen_writers(NAMES, which, 0.25) for which in ("seen", "unseen"))
    assert len(seen) == 36 and len(unseen) == 12
    assert sorted(seen + unseen) == sorted(NAMES) == chosen_writers(NAMES, "all", 0.25)
    assert chosen_writers(reversed(NAMES), "unseen", 0.25) == unseen
    assert set(chosen_writers(NAMES, "unseen", 0.5)) > set(unseen)


@pytest.mark.parametrize(
    ("count", "share", "hidden"), [(2, 0.1, 1), (2, 0.9, 1), (1, 0.5, 0), (5, 0.0, 0), (4, 0.99, 3)]
)
def test_one_writer_at_least_stays_on_each_side(count, share, hidden):
    assert len(chosen_writers(NAMES[:count], "seen", share)) == count - hidden
    if hidden:
        assert len(chosen_writers(NAMES[:count], "unseen", share)) == hidden
    else:
        with pytest.raises(ValueError, match=f"none is unseen, of {count} with unseen: {share:g}"):
            chosen_writers(NAMES[:count], "unseen", share)


def test_words_are_split_whatever_their_case():
    held = [word for word in WORDS if is_held_out_word(word, 0.2)]
    assert 0.15 < len(held) / len(WORDS) < 0.25
    assert is_held_out_word(held[0].upper(), 0.2)
    assert not in_vocabulary(held[0], "known", 0.2) and in_vocabulary(held[0], "held_out", 0.2)
    assert in_vocabulary(held[0], "all", 0.2) and in_vocabulary(held[0], "known", 0.0)
