import pytest

from oneloop.sample.data.checked import BadRows, bad_rows, place_of, told, unchecked, usable
from oneloop.sample.data.hub import Hub
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.source import Source

ROWS = Rows(rows=[{"prompt": "a"}, {"prompt": ""}, {"prompt": None}, {"prompt": "d"}])


def no_empty_prompts(row, where):
    if not row["prompt"]:
        raise ValueError(f"{where}: the prompt is empty")


def test_bad_rows_are_named():
    bad = bad_rows(ROWS, range(4), no_empty_prompts)
    assert bad == {
        1: "data row 1: the prompt is empty",
        2: "row 2: there is no prompt (column 'prompt' is empty)",
    }
    assert bad_rows(ROWS, range(4), unchecked).keys() == {2}


def test_data_without_prompts_is_named():
    with pytest.raises(ValueError, match="data row 0 has no 'prompt'; its columns: text"):
        usable([{"text": "a"}], 0, unchecked)


def test_a_row_of_a_file_is_named_by_file_and_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n\n{"prompt": "b"}\n')
    data = Hub(path=str(tmp_path / "rows.jsonl"))
    assert place_of(data, 1) == f"{tmp_path}/rows.jsonl line 3"


def test_the_first_bad_rows_are_told_and_all_are_counted():
    bad = {key: f"data row {key}: bad" for key in range(5)}
    assert told({}, 9, "stop") == ""
    assert told(bad, 9, "skip") == (
        "5 of 9 rows cannot be used and are left out: data row 0: bad; data row 1: bad; data row 2: bad; ..."
    )
    with pytest.raises(BadRows, match=r"5 of 9 rows cannot be used: data row 0: bad; .*on_bad_row: skip"):
        told(bad, 9, "stop")
    with pytest.raises(BadRows, match="5 of 5 rows cannot be used, so none is left"):
        told(bad, 5, "skip")


def test_bad_rows_are_left_out_of_the_order():
    source = Source(ROWS, False, 2, 0, no_empty_prompts, "skip")
    assert [source.next()[0] for _ in range(4)] == [0, 3, 0, 3]
    assert source.next() is None
    resumed = Source(ROWS, False, 2, 0, no_empty_prompts, "skip")
    resumed.handed_out = 1
    assert resumed.next()[0] == 3


def test_a_bad_row_stops_where_that_is_asked_for():
    source = Source(ROWS, False, None, 0, no_empty_prompts)
    assert source.next()[0] == 0
    with pytest.raises(BadRows, match=r"data row 1: the prompt is empty \(on_bad_row: skip"):
        source.next()


def test_data_without_a_good_row_ends():
    with pytest.raises(
        BadRows, match="plan.data has no row that can be used: data row 0: the prompt is empty"
    ):
        Source(Rows(rows=[{"prompt": ""}] * 3), False, None, 0, no_empty_prompts, "skip").next()
