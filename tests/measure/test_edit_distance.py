import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.measure.edit_distance import character_error_rate, edit_distance

WORDS = st.text(alphabet="abc", max_size=6)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0), ("ab", "ba", 2)],
)
def test_known_distances(first, second, distance):
    assert edit_distance(first, second) == distance


@settings(max_examples=30)
@given(WORDS, WORDS, WORDS)
def test_it_is_a_distance(a, b, c):
    assert edit_distance(a, b) == edit_distance(b, a) >= abs(len(a) - len(b))
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_character_error_rate():
    assert character_error_rate("helo", "hello") == 0.2
    assert character_error_rate("aaaa", "b") == 4
    with pytest.raises(ValueError, match="not empty"):
        character_error_rate("a", "")
