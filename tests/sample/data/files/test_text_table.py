import copy
import gzip
import json
import pickle

import pytest

from oneloop.sample.data.files.text_table import (
    FileLine,
    TextTable,
    WrittenFloat,
    content,
    decoded,
    parsed_json,
)


def table(*rows):
    return TextTable([FileLine("f", number, row) for number, row in enumerate(rows, 1)], parsed_json)


def test_every_row_has_every_column():
    rows = table('{"a": 1}', '{"b": null, "c": [1]}')
    assert rows.columns == ["a", "b", "c"]
    assert [rows[0], rows[1]] == [{"a": 1, "b": None, "c": None}, {"a": None, "b": None, "c": [1]}]


def test_mappings_inside_a_row_are_not_filled_up():
    assert table('{"m": [{"a": 1}, {"b": 2}]}')[0] == {"m": [{"a": 1}, {"b": 2}]}


@pytest.mark.parametrize("text", ["2.50", "1e3", "0.1000", "-0.0", "1e-7", "0.30000000000000004"])
def test_numbers_print_as_they_are_written(text):
    value = parsed_json(text)
    assert str(value) == repr(value) == f"{value}" == text
    assert value == float(text) and isinstance(value, float)
    assert str(copy.deepcopy(value)) == str(pickle.loads(pickle.dumps(value))) == text


def test_a_written_number_is_a_number_everywhere_else():
    assert (
        WrittenFloat("2.50") + 1 == 3.5
        and json.dumps(WrittenFloat("2.50")) == "2.5"
        and f"{WrittenFloat('2.50'):.1f}" == "2.5"
    )


def test_whole_numbers_keep_their_digits():
    assert parsed_json("12345678901234567890123") == 12345678901234567890123


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' is given twice"),
        ("1e400", "the number 1e400 is too large"),
        ("9" * 5000, "a whole number has 5000 digits, which is too many"),
        ("[" * 100000, "its JSON is nested too deeply"),
        ('"\\ud800"', "half a surrogate pair"),
        ('{"a": ', r"not JSON: Expecting value \(character 7\)"),
    ],
)
def test_what_no_row_can_hold_is_said(text, message):
    with pytest.raises(ValueError, match=message):
        parsed_json(text)


def test_a_whole_surrogate_pair_is_a_character():
    assert parsed_json('"\\ud83d\\ude42"') == "🙂"


def test_texts_that_look_like_something_else_stay_texts():
    words = [
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "007",
        "1e3",
        "true",
        "null",
        "NaN",
        "1,000",
        "a\u2028b",
        "",
    ]
    assert parsed_json(json.dumps(words)) == words


def test_bytes_are_utf8():
    assert decoded("\ufeffa\u2028é".encode()) == "a\u2028é"
    with pytest.raises(ValueError, match=r"byte 4, b'\\xe9', is not UTF-8; save the file as UTF-8"):
        decoded("café".encode("latin-1"))
    with pytest.raises(ValueError, match="it looks like UTF-16"):
        decoded("a".encode("utf-16"))


def test_gzip_is_unpacked_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"text"))
    assert content(path) == b"text"
    path.write_bytes(gzip.compress(b"text" * 100)[:-9])
    with pytest.raises(ValueError, match=r"a.jsonl.gz is no whole gzip file"):
        content(path)
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"a.jsonl.gz is no whole gzip file"):
        content(path)
