import pytest
from pydantic import ValidationError

from oneloop.core.rooms import build
from oneloop.sample.data.rows import Rows


def test_rows_by_number():
    data = build("data", {"rows": {"rows": [{"q": "a", "n": 1}, {"q": "b", "n": 2}], "input_key": "q"}})
    assert len(data) == 2
    assert data[1] == {"q": "b", "n": 2, "prompt": "b"}
    assert [row["prompt"] for row in data] == ["a", "b"]


def test_columns_of_each_row_are_checked_at_once():
    with pytest.raises(ValidationError, match="row 1: no column 'prompt' or 'messages' .columns: text"):
        Rows(rows=[{"prompt": "a"}, {"text": "b"}])
    with pytest.raises(ValidationError, match="at least 1 item"):
        Rows(rows=[])


def test_objects_in_a_row_stay_the_same_objects():
    picture = object()
    assert Rows(rows=[{"prompt": "a", "images": [picture]}])[0]["images"][0] is picture
