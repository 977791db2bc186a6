"""What is asked when evaluating is never trained on, whatever the data: the prompt's hash decides."""

import numpy as np
import pytest

from oneloop.sample.data.held_out import HeldOutRows, NothingHeldOut, is_held_out, question
from oneloop.sample.data.rows import Rows
from oneloop.sample.data.sum_chain import SumChain
from oneloop.sample.plan.source import Source

TEXTS = [{"prompt": f"what is {n} + 1?", "answer": str(n + 1)} for n in range(2000)]


def test_a_share_of_all_prompts_is_held_out_and_a_larger_share_holds_out_these_too():
    fifth = {row["prompt"] for row in TEXTS if is_held_out(row, 0.2)}
    half = {row["prompt"] for row in TEXTS if is_held_out(row, 0.5)}
    # four standard deviations of a binomial share of 2000
    assert abs(len(fifth) / 2000 - 0.2) < 4 * (0.2 * 0.8 / 2000) ** 0.5
    assert fifth < half and not any(is_held_out(row, 0.0) for row in TEXTS)
    # a property of the prompt, not of this process or version
    assert [n for n in range(30) if is_held_out(TEXTS[n], 0.2)] == [3, 5, 7, 13, 15, 25, 28]


def test_one_question_is_on_one_side_however_it_is_written():
    text = {"prompt": "2+2?"}
    same = [
        {"prompt": " 2+2?\n", "answer": "4"},
        {"prompt": [{"role": "user", "content": "2+2? "}]},
        {"prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2+2?"}]},
    ]
    assert [question(row) for row in same[:1]] == [question(text)]
    assert len({str(question(row)).strip() for row in [text, *same]}) == 1
    assert question({"prompt": "a cat", "image": np.zeros(3)}) != question({"prompt": "a cat"})
    assert question({"prompt": "what?", "images": ["a"]}) != question({"prompt": "what?", "images": ["b"]})


@pytest.mark.parametrize("seed", [0, 1])
def test_training_and_evaluation_share_no_prompt_across_seeds(seed):
    asked = HeldOutRows(SumChain(length=2, size=2000, seed=1000), 0.2, 64)
    held = [asked[key]["prompt"] for key in range(len(asked))]
    assert 5 < len(held) == len(set(held)) < 40  # of a hundred prompts
    source = Source(SumChain(length=2, size=2000, seed=seed), True, 1, seed, held_out=0.2)
    trained = set()
    while (drawn := source.next()) is not None:
        trained.add(drawn[1]["prompt"])
    assert not trained & set(held) and len(trained | set(held)) == 100


def test_a_source_goes_on_where_it_stood():
    def rows(source, count):
        return [source.next()[0] for _ in range(count)]

    whole = rows(Source(Rows(rows=TEXTS), True, None, 3, held_out=0.3), 50)
    first, second = (Source(Rows(rows=TEXTS), True, None, 3, held_out=0.3) for _ in range(2))
    begun = rows(first, 20)
    second.handed_out = first.handed_out
    assert begun + rows(second, 30) == whole
    assert not any(is_held_out(TEXTS[key], 0.3) for key in whole)


def test_the_rows_asked_are_the_first_and_say_where_they_are():
    asked = HeldOutRows(Rows(rows=[*TEXTS[:50], *TEXTS]), 0.2, 5)
    keys = [n for n in range(50) if is_held_out(TEXTS[n], 0.2)][:5]
    assert [asked[key] for key in range(len(asked))] == [TEXTS[n] for n in keys]
    assert asked.place(1) == f"data row {keys[1]}"


def test_nothing_held_out_is_said():
    with pytest.raises(
        NothingHeldOut, match="none of the 3 rows of evaluate.data has a prompt that is held out"
    ):
        len(HeldOutRows(Rows(rows=TEXTS[2:5]), 0.0001, 5))
    source = Source(Rows(rows=TEXTS[:1]), True, None, 0, held_out=0.999999)
    with pytest.raises(
        ValueError, match=r"no row that can be used: data row 0 is held out \(evaluate.held_out\)"
    ):
        source.next()
