import pytest
from pydantic import ValidationError

from oneloop.core.rooms import build
from oneloop.sample.data.reasoning import Reasoning


def test_rows_have_prompt_answer_and_a_demonstration():
    data = Reasoning(size=20, options={"min_terms": 2, "max_terms": 2})
    assert len(data) == 20 and len(list(data)) == 20
    for row in data:
        first, second = row["metadata"]["expression"].replace("- ", "+ -").split(" + ")
        assert int(row["answer"]) == int(first) + int(second)
        assert row["completion"] == row["answer"]
        assert row["prompt"] == row["question"] and row["metadata"]["expression"] in row["question"]


def test_a_row_depends_on_seed_and_number_alone():
    first, again = Reasoning(seed=3, size=50), Reasoning(seed=3, size=9)
    assert first[7] == again[7]
    assert [again[k] for k in (4, 2, 4)] == [first[k] for k in (4, 2, 4)]


def test_neighbouring_seeds_are_held_out_from_one_another():
    rows = {seed: {row["question"] for row in Reasoning(seed=seed, size=100)} for seed in (0, 1)}
    assert not rows[0] & rows[1]


def test_template_and_chat():
    data = Reasoning(prompt="Q: {question} {braces}\nA:", chat=True)
    question = Reasoning()[0]["question"]
    assert data[0]["prompt"] == [{"role": "user", "content": f"Q: {question} {{braces}}\nA:"}]


def test_a_system_message_makes_a_conversation():
    prompt = Reasoning(system="Be brief.")[0]["prompt"]
    assert [turn["role"] for turn in prompt] == ["system", "user"]
    assert isinstance(Reasoning(chat=False)[0]["prompt"], str)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"system": "x", "chat": False}, "a system message needs a conversation"),
        (
            {"options": {"max_terms": "3"}},
            "options of chain_sum: 'max_terms' must be a whole number, got '3'",
        ),
        ({"options": {"max_terms": None}}, "'max_terms' must be a whole number, got None"),
        ({"options": {"max_terms": 2.5}}, "'max_terms' must be a whole number, got 2.5"),
        ({"options": {"max_terms": True}}, "'max_terms' must be a whole number, got True"),
        ({"options": {"allow_negation": "maybe"}}, "'allow_negation' must be true or false, got 'maybe'"),
        ({"options": {"max_digits": 10**18}}, "'max_digits' must be at most 1000, got 1000000000000000000"),
        ({"options": {"max_terms": 10**18}}, "'max_terms' must be at most 2147483647"),
        ({"task": "chain_sums"}, "no task 'chain_sums'; did you mean 'chain_sum'"),
        ({"options": {"max_term": 3}}, "no such option 'max_term'; did you mean 'max_terms'"),
        ({"options": {"seed": 3}}, "'seed' belongs beside `options`"),
        ({"options": {"min_terms": 5, "max_terms": 2}}, "max_terms must be >= min_terms, got"),
        ({"prompt": "solve"}, "must contain {question}, got 'solve'"),
        ({"size": 0}, "greater than or equal to 1"),
    ],
)
def test_faults_are_explained(fields, message):
    with pytest.raises(ValidationError) as caught:
        Reasoning(**fields)
    assert message in str(caught.value)


def test_no_such_row():
    for key in (-1, 10):
        with pytest.raises(IndexError, match=f"row {key} of chain_sum: there are 10 rows"):
            Reasoning(size=10)[key]


def test_a_recipe_finds_it():
    assert build("data", {"reasoning": {"task": "gcd", "size": 2}})[0]["metadata"]["source_dataset"] == "gcd"
