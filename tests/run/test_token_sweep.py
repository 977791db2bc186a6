"""What a model answers at each number of visual tokens beside what it answers at the largest."""

from dataclasses import replace

import pytest

from oneloop.judge.stage import Judging
from oneloop.judge.verifier import Verifier
from oneloop.run.evaluation import answered
from oneloop.run.token_sweep import BudgetRow, shown_by, smallest_alike, token_sweep
from oneloop.sample.data.picture_questions import PictureQuestions
from tests.run.test_pictures import FLEXIBLE, recipe

ROW = BudgetRow(16, 0.5, 0.4, 0.6, 1.0, 20.0, 0.01, None)


def test_agreement_is_the_share_of_answers_that_are_the_largest_numbers():
    policy = recipe(FLEXIBLE).policy.open()
    data, judge = PictureQuestions(image_size=16), Judging((Verifier(by="exact"),))
    rows = token_sweep(policy, judge, data, (4, 16, 1), 6)
    assert [row.count for row in rows] == [4, 16, 1] and rows[1].agreement == 1
    texts = {}
    for row in rows:
        with shown_by(policy, row.count):
            texts[row.count] = answered(policy, judge, data, 6, 1, 0, "greedy").text
    for row in rows:
        same = sum(a == b for a, b in zip(texts[row.count], texts[16], strict=True))
        assert row.agreement == pytest.approx(same / 6)


@pytest.mark.parametrize(("tolerance", "smallest"), [(0.0, 16), (0.05, 9), (0.2, 1)])
def test_the_smallest_number_is_one_from_which_on_all_agree(tolerance, smallest):
    """4 agrees less than 1, so at a tolerance between them 1 is not taken."""
    shares = {1: 0.9, 4: 0.85, 9: 0.97, 16: 1.0}
    rows = [replace(ROW, count=count, agreement=share) for count, share in shares.items()]
    assert smallest_alike(rows, tolerance) == smallest
    assert smallest_alike(rows, 0.12) == 9
