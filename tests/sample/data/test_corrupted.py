"""Corrupted: a changed row is wrong, as many are as asked for, and they are the same ones always."""

import math

import pytest

from oneloop.sample.data.corrupted import Corrupted
from oneloop.sample.data.rows import Rows


def answers(values: list[str], **options) -> Corrupted:
    return Corrupted(
        data=Rows(rows=[{"prompt": str(i), "completion": value} for i, value in enumerate(values)]), **options
    )


@pytest.mark.parametrize("kinds", [2, 3, 19])
def test_a_changed_row_differs_from_the_truth_and_the_share_is_exact_in_expectation(kinds):
    truth = [str(i % kinds) for i in range(4000)]
    data = answers(truth, share=0.3)
    rows = [data[i] for i in range(len(data))]
    for row, right in zip(rows, truth, strict=True):
        assert (row["completion"] != right) is row["corrupted"]
    wrong = sum(row["corrupted"] for row in rows)
    assert abs(wrong - 0.3 * 4000) < 4 * math.sqrt(4000 * 0.3 * 0.7)  # four standard deviations
    assert rows == [data[i] for i in range(len(data))]


def test_a_single_other_completion_is_found():
    data = answers(["same"] * 200 + ["other"], share=1.0)
    assert {data[i]["completion"] for i in range(200)} == {"other"}
    assert data[200]["completion"] == "same"


def test_nothing_wrong_to_say_and_images_are_refused_in_words():
    with pytest.raises(ValueError, match="all 3 rows have one completion, 'yes'"):
        answers(["yes"] * 3, share=1.0)[0]
    images = Corrupted(data=Rows(rows=[{"prompt": "a circle", "image": [0]}]), share=1.0)
    with pytest.raises(ValueError, match="data row 0 has no 'completion'; its columns: prompt, image"):
        images[0]


def test_nothing_and_everything():
    assert not any(answers(["a", "b"], share=0.0)[i]["corrupted"] for i in range(2))
    assert all(answers(["a", "b"], share=1.0)[i]["corrupted"] for i in range(2))
