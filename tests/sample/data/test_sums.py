"""sums.py: what is held out is never trained, every pair comes once before any comes again."""

import pytest

from oneloop.sample.data.sums import Sums


def pairs(data: Sums) -> list[tuple[int, int]]:
    return [(data[key]["a"], data[key]["b"]) for key in range(len(data))]


@pytest.mark.parametrize("largest", [9, 20, 99])
def test_no_held_out_pair_is_a_training_pair_not_even_turned_round(largest):
    train = set(pairs(Sums(largest=largest, size=10_000)))
    test = set(pairs(Sums(split="test", largest=largest, size=10_000)))
    assert not train & test and not train & {(b, a) for a, b in test}
    assert train | test == {(a, b) for a in range(largest + 1) for b in range(largest + 1)}
    assert 0.1 < len(test) / len(train | test) < 0.3


def test_another_seed_gives_another_order_of_the_same_pairs():
    first, second = (pairs(Sums(split="test", seed=seed, smallest=1, largest=20)) for seed in (0, 1))
    count = len(set(first))
    assert set(first) == set(second) and first != second
    assert len(set(first[:count])) == count and first[count : 2 * count] == first[:count]


def test_a_row_is_a_question_of_the_user_and_its_answer():
    row = Sums(smallest=12, largest=12, prompt="{b} and {a} make?", split=split_of(12))[0]
    assert row == {
        "prompt": [{"role": "user", "content": "12 and 12 make?"}],
        "answer": "24",
        "a": 12,
        "b": 12,
    }


def split_of(number: int) -> str:
    """On which side the one pair of a range of one number lies."""
    try:
        Sums(smallest=number, largest=number)
    except ValueError:
        return "test"
    return "train"


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="smallest must be at most largest = 9, got 10"):
        Sums(smallest=10)
    with pytest.raises(ValueError, match=r"prompt must contain \{b\}, got 'What is \{a\}\?'"):
        Sums(prompt="What is {a}?")
    other = {"train": "test", "test": "train"}[split_of(12)]
    with pytest.raises(ValueError, match=f"numbers of 12 to 12 leave no pair for '{other}'"):
        Sums(smallest=12, largest=12, split=other)
    with pytest.raises(IndexError, match="there are 3 rows"):
        Sums(size=3)[3]
