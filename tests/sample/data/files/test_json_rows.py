import pytest

from oneloop.sample.data.files.json_rows import read


def rows(tmp_path, text, name="a.jsonl"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    table = read([(name, path)])
    return [table[key] for key in range(len(table))]


def test_types_may_differ_from_row_to_row(tmp_path):
    text = '{"p": "1e3"}\n{"p": 4}\n{"p": [1, "a", null]}\n{"p": null}\n{"p": {"a": true}}\n'
    assert [row["p"] for row in rows(tmp_path, text)] == ["1e3", 4, [1, "a", None], None, {"a": True}]


def test_only_a_line_feed_ends_a_line(tmp_path):
    assert rows(tmp_path, '{"p": "a\u2028b\x85cd\u2029"}\r\n\r\n{"p": "e"}')[0]["p"] == "a\u2028b\x85cd\u2029"


@pytest.mark.parametrize(
    "text",
    [
        '[{"p": 1}, {"p": 2}]',
        '\ufeff [\n{"p": 1},\n{"p": 2}]\n',
        '{"p": 1}\n{"p": 2}',
        '\ufeff{"p": 1}\n\n{"p": 2}\n',
    ],
)
def test_a_list_and_lines_are_the_same(tmp_path, text):
    assert rows(tmp_path, text) == [{"p": 1}, {"p": 2}]


def test_one_object_over_several_lines_is_one_row(tmp_path):
    assert rows(tmp_path, '{\n  "p": [\n    1\n  ]\n}\n') == [{"p": [1]}]


def test_a_bad_line_costs_itself(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"p": "a"}\n{"p": "é"}\n'.encode("latin-1"))
    table = read([("a.jsonl", path)])
    assert len(table) == 2 and table[0] == {"p": "a"}
    with pytest.raises(ValueError, match=r"a.jsonl line 2: byte 8, b'\\xe9', is not UTF-8"):
        table[1]


def test_a_file_without_a_good_line_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"a.jsonl line 1: a row is one JSON object, got 3"):
        rows(tmp_path, "3\n4\n")
    with pytest.raises(ValueError, match=r"a.jsonl line 1: a row is one JSON object, got 3"):
        rows(tmp_path, "[3, 4]")
