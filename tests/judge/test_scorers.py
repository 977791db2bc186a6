import pytest
from reasoning_gym.factory import DATASETS

from oneloop.judge.isolation.messages import pack, unpack
from oneloop.judge.scorers import exact, extracted, math
from oneloop.judge.scorers import reasoning_gym as scored
from oneloop.sample.data.reasoning import Reasoning


def reasoning_gym(text, row):
    score, _ = scored(text, row, alone=True)
    return score


# their own scorer does not give the answer they hand out full marks
UNANSWERED = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}


def test_exact_leaves_out_white_space_around():
    row = {"answer": " 42\n"}
    assert exact(extracted("\n42 ", None), row) == 1.0
    assert exact("4 2", row) == 0.0 and exact("420", row) == 0.0 and exact(None, row) == 0.0
    assert exact("42", {"answer": 42}) == 1.0
    assert exact("x", {"answer": None}) is None


@pytest.mark.parametrize("score", [exact, math])
def test_any_of_several_answers_is_right(score):
    row = {"answer": ["4", "four"]}
    assert score("4", row) == 1.0 and score("5", row) == 0.0
    assert score("4", {"answer": []}) is None
    with pytest.raises(ValueError, match=r"the right answer is \{'value': '4'\} \(dict\)"):
        score("4", {"answer": {"value": "4"}})


def test_extraction_takes_the_last_match_and_its_group():
    text = "<a>1</a> so\n<a> 2\n</a> done"
    assert extracted(text, "<a>(.*?)</a>") == "2"
    assert extracted(text, "[0-9]") == "2"
    assert extracted(text, "#### (.*)") is None


@pytest.mark.parametrize(
    ("text", "answer", "score"),
    [
        (r"so \boxed{0.5}", "1/2", 1.0),
        (r"The answer is $\frac{2}{4}$.", r"\frac{1}{2}", 1.0),
        ("72", 72, 1.0),
        ("71", "72", 0.0),
        ("no idea", "72", 0.0),
        (None, "72", 0.0),
        ("1", None, None),
    ],
)
def test_math(text, answer, score):
    assert math(text, {"answer": answer}) == score


def test_math_refuses_an_answer_that_is_no_mathematics():
    with pytest.raises(ValueError, match="finds no mathematics in the right answer 'a dog'"):
        math("1", {"answer": "a dog"})


@pytest.mark.parametrize(
    "task", ["chain_sum", "arc_agi", "rearc", "puzzle24", "decimal_arithmetic", "time_intervals"]
)
def test_reasoning_gym_scores_what_travelled_to_another_process(task):
    assert task in set(DATASETS) - UNANSWERED
    data = Reasoning(task=task, size=2)
    for row in data:
        there = unpack(pack({name: row[name] for name in ("question", "answer", "metadata", "options")}))
        assert reasoning_gym(row["answer"], there) == 1.0
        assert reasoning_gym("nonsense", there) < 1.0
        assert reasoning_gym(None, there) < 1.0


def test_reasoning_gym_gives_partial_credit_and_takes_equal_numbers():
    row = {**Reasoning()[0], "answer": "214"}
    assert reasoning_gym("0214.0", row) == 1.0
    assert reasoning_gym("2140", row) == pytest.approx(0.75)
    assert reasoning_gym("3", row) == 0.0


def test_a_row_of_no_task_is_an_error():
    with pytest.raises(ValueError, match="names no reasoning-gym task"):
        reasoning_gym("1", {"question": "q", "answer": "1", "metadata": {}, "options": None})
