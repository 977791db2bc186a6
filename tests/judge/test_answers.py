import math

import numpy as np
import pytest

from oneloop.judge.answers import accepted
from oneloop.sample.data.files.text_table import parsed_json


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        ("York ", ["York"]),
        (["York", "York, UK", "York"], ["York", "York, UK"]),
        ([["4"], ("5", 6)], ["4", "5", "6"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (7, ["7"]),
        (np.int64(7), ["7"]),
        (0.5, ["0.5"]),
        (72.0, ["72.0", "72"]),  # a column of whole numbers with a gap is one of floats
        (np.float64(72), ["72.0", "72"]),
        (math.inf, ["inf"]),
        (parsed_json("2.50"), ["2.50"]),
        (True, ["True", "true"]),
        ("", [""]),
        (None, []),
        (math.nan, []),
        ([None, "4"], ["4"]),
        ([], []),
        ({"4"}, ["4"]),
        (np.array(["4", "5"], dtype=object), ["4", "5"]),
    ],
)
def test_the_texts_that_count_as_right(answer, texts):
    assert accepted(answer) == texts


def test_a_mapping_does_not_say_which_value_is_the_answer():
    with pytest.raises(ValueError, match=r"the right answer is {'value': 'York'} \(dict\), .* label_key"):
        accepted({"value": "York"})
