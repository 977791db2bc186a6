"""Text of others cannot break a file, act on a terminal, or give a password away."""

import json

import pytest

from oneloop.core.text import one_line, shown, unicode, without_logins


def test_half_surrogates_become_question_marks_wherever_they_are():
    value = {"a\ud800": ["x\udfff\ud83dy", ("\U0001f600", 1, None)], "ascii": 2.5}
    assert unicode(value) == {"a?": ["x??y", ("\U0001f600", 1, None)], "ascii": 2.5}
    json.dumps(unicode(value), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain\n\ttext \u00e9 \u4e2d \U0001f600", "plain\n\ttext \u00e9 \u4e2d \U0001f600"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("over\rwritten\x08", r"over\rwritten\x08"),
        ("\x9b31mred \x7f", r"\x9b31mred \x7f"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("half \ud800", "half ?"),
    ],
)
def test_characters_that_act_are_written_out(text, seen):
    assert shown(text) == seen


def test_words_in_a_message_stay_on_its_line():
    assert (
        one_line("a\x1b[31mb\r\n  c\u2028d\te") == "a\\x1b[31mb\\r c d e" and one_line("x" * 500) == "x" * 200
    )


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("train r.yaml judge.url=http://me:pa:ss@host:80/v1", "train r.yaml judge.url=http://***@host:80/v1"),
        ("https://token@host and ftp://a:b@c", "https://***@host and ftp://***@c"),
        ("http://host/path?mail=a@b", "http://host/path?mail=a@b"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_logins_in_addresses_are_not_given_away(text, seen):
    assert without_logins(text) == seen
