import pytest

from oneloop.sample.data.files.delimited import read


def rows(tmp_path, text, separator=","):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    table = read([("a.csv", path)], separator)
    return [table[key] for key in range(len(table))]


def test_a_cell_is_its_text_and_an_empty_one_none(tmp_path):
    cells = [
        "007",
        "2",
        "2.50",
        "NA",
        "None",
        "null",
        "nan",
        "TRUE",
        "1e3",
        "2024-01-01",
        " x ",
        "12345678901234567890",
    ]
    text = "prompt,answer\n" + "".join(f"p,{cell}\n" for cell in cells) + "p,\n"
    assert [row["answer"] for row in rows(tmp_path, text)] == [*cells, None]


def test_quoted_cells_hold_separators_quotes_and_line_ends(tmp_path):
    text = '\ufeffprompt,answer\r\n"a,b","say ""x"""\r\n"two\nlines",2\u2028\r\n'
    assert rows(tmp_path, text) == [
        {"prompt": "a,b", "answer": 'say "x"'},
        {"prompt": "two\nlines", "answer": "2\u2028"},
    ]


def test_tabs_separate_too(tmp_path):
    assert rows(tmp_path, "prompt\tanswer\na,b\t007\n", "\t") == [{"prompt": "a,b", "answer": "007"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot load a.csv: it is empty; the first line names the columns"),
        ("a,b,a\n1,2,3\n", "cannot load a.csv: two columns are called 'a'"),
        ('a\n"open', "cannot load a.csv: in the row that begins in line 2: a quotation mark is opened and"),
        ("a,b\n1\n", r"a.csv line 2: 1 cells, but there are 2 columns \(a, b\)"),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        rows(tmp_path, text)


def test_a_row_of_another_length_costs_itself_and_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n"x\ny",1\n\n1,2,3\n4,5\n')
    table = read([("a.csv", path)], ",")
    assert table[2] == {"a": "4", "b": "5"}
    with pytest.raises(ValueError, match=r"a.csv line 5: 3 cells, but there are 2 columns"):
        table[1]


@pytest.mark.parametrize(
    ("text", "separator", "other"),
    [
        ("prompt;answer\nwas?;1\n", ",", ";"),
        ("prompt;answer\nwo, bitte?;2\n", ",", ";"),
        ("prompt\tanswer\na\t1\n", ",", "\\t"),
        ("prompt|answer\na|1\n", ",", "|"),
        ("prompt,answer\na,1\n", "\t", ","),
    ],
)
def test_another_separator_is_named_with_the_one_that_is_read(tmp_path, text, separator, other):
    with pytest.raises(ValueError) as refused:
        rows(tmp_path, text, separator)
    told = f"is separated by '{other}' and not by {separator!r}; save it with commas, or with tabs as .tsv"
    assert told in str(refused.value) and str(refused.value).startswith("cannot load a.csv: its only column")


def test_a_semicolon_in_a_name_or_cell_is_text_where_commas_separate(tmp_path):
    assert rows(tmp_path, "prompt;de,answer\na;b,1;2\n") == [{"prompt;de": "a;b", "answer": "1;2"}]
    assert rows(tmp_path, "prompt\na;b\n") == [{"prompt": "a;b"}], "one column is a table too"
