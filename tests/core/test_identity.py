import datetime
import decimal
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from oneloop.core.identity import Fingerprint, fingerprint, identity, of_rows
from oneloop.core.rooms import build

ROW = {"prompt": [{"role": "user", "content": "1+1"}], "answer": 2, "share": 0.5, "none": None}


def test_equal_rows_are_equal_and_the_order_of_keys_makes_no_difference():
    assert identity(ROW) == identity({key: ROW[key] for key in reversed(ROW)})
    assert identity(ROW) != identity({**ROW, "answer": 3})


def test_it_is_the_same_in_another_process():
    code = f"from oneloop.core.identity import identity; print(identity({ROW!r}))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert told.stdout.strip() == identity(ROW)


DIFFERENT = [
    *(None, True, False, 1, 0, 1.0, 0.0, -0.0, "1", "", b"1", "None", 2**70, -(2**70), 10**5000),
    *([], [[]], [1], ["1"], ["a", "b"], ["ab"], ["a", ["b"]], {}, {"a": 1}, {"a": [1]}, {1: "a"}, {1}),
    *(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), "2024-01-01"),
    *(decimal.Decimal("2.50"), decimal.Decimal("2.5"), 2.5, "2.50", "\ud800", "?"),
    *(np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.zeros(3), np.float32(0), object()),
]


def test_what_differs_in_value_or_kind_differs():
    assert len({identity(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_tensors_count_as_the_arrays_they_hold():
    assert identity(torch.arange(3)) == identity(np.arange(3))
    assert identity(torch.ones(2, dtype=torch.bfloat16)) == identity(torch.ones(2))
    assert identity(torch.ones(3, 2).T) == identity(torch.ones(2, 3))


def test_pictures_count_by_their_pixels():
    image = pytest.importorskip("PIL.Image")
    black, white = image.new("L", (2, 2), 0), image.new("L", (2, 2), 255)
    assert identity({"image": black}) == identity({"image": black.copy()}) != identity({"image": white})


class Made:
    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        self.asked.append(key)
        return {"prompt": self.rows[key]}


def test_a_fingerprint_tells_reordered_shortened_and_edited_data():
    rows = [f"{i}+1=" for i in range(12)]
    whole = fingerprint(Made(rows))
    assert whole == fingerprint(Made(list(rows))) and whole.rows == 12
    for other in (rows[1:], rows[:-1], rows[::-1], [*rows[:5], "5+2=", *rows[6:]]):
        assert fingerprint(Made(other)) != whole


def test_of_generated_data_some_rows_are_looked_at_the_first_and_the_last_among_them():
    data = Made(range(10**6))
    assert fingerprint(data).rows == 10**6
    assert len(data.asked) == 128 and data.asked[0] == 0 and data.asked[-1] == 10**6 - 1


def test_data_made_of_other_data_counts_all_of_that():
    class Wrapping(Made):
        def fingerprint(self):
            return of_rows(self, 1, [Made(self.rows)])

    one, other = Wrapping(list("abc")), Wrapping(list("abd"))
    assert isinstance(fingerprint(one), Fingerprint) and fingerprint(one) != fingerprint(other)


def test_parts_that_hold_or_wrap_rows_notice_one_row_of_many():
    rows = [{"prompt": f"{i}+1=", "completion": str(i + 1)} for i in range(300)]
    edited = [*rows[:201], {**rows[201], "completion": "?"}, *rows[202:]]
    for spec in (
        lambda data: data,
        lambda data: {"corrupted": {"data": data, "share": 0.5}},
        lambda data: {"mixture": {"sets": [{"data": data}], "size": 5}},
    ):
        before, after = (build("data", spec({"rows": {"rows": each}})) for each in (rows, edited))
        assert fingerprint(before) != fingerprint(after)
