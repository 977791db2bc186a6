import pytest

from oneloop.sample.data.columns import as_row, check_columns, split_messages

USER = {"role": "user", "content": "1+1"}
ANSWER = {"role": "assistant", "content": "2"}


def row(raw, input_key=None, label_key=None):
    return as_row(raw, input_key, label_key, "row 3")


def test_trl_text_and_free_columns_stay():
    assert row({"prompt": "p", "completion": "c", "level": 2}) == {
        "prompt": "p",
        "completion": "c",
        "level": 2,
    }


def test_trl_conversation_loses_empty_keys_only():
    raw = {"prompt": [{**USER, "tool_calls": None}], "completion": [ANSWER]}
    assert row(raw) == {"prompt": [USER], "completion": "2"}


def test_messages_are_split_at_the_last_turn_of_the_assistant():
    made = row({"messages": [USER, ANSWER, USER, {"role": "assistant", "content": "two"}, USER]})
    assert made["prompt"] == [USER, ANSWER, USER]
    assert made["completion"] == "two"


def test_verl_ground_truth_becomes_the_answer():
    raw = {
        "data_source": "gsm8k",
        "prompt": [USER],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "2"},
        "extra_info": {"index": 4},
    }
    assert row(raw) == {**raw, "answer": "2"}
    assert row({**raw, "answer": "two"})["answer"] == "two"


def test_input_and_label_keys():
    made = row({"question": "q", "target": 4, "prompt": "other"}, "question", "target")
    assert made["prompt"] == "q" and made["answer"] == 4 and made["question"] == "q"


def test_the_row_given_is_not_changed():
    raw = {"messages": [USER, ANSWER]}
    row(raw)
    assert raw == {"messages": [USER, ANSWER]}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"prompt": 5}, "row 3: expected a list of messages with a role each, got 5"),
        ({"prompt": [{"content": "x"}]}, "row 3: expected a list of messages with a role each"),
        ({"prompt": []}, "row 3: the prompt has no messages"),
        ({"messages": [ANSWER]}, "row 3: messages need an assistant's turn after another one"),
        ({"messages": [USER]}, r"got roles \['user'\]"),
        ({"prompt": "p", "completion": [ANSWER, USER]}, "row 3: a completion is text or one turn of text"),
        ({"prompt": "p", "completion": [{**ANSWER, "tool_calls": [{}]}]}, "a completion is text or one turn"),
    ],
)
def test_malformed_rows_are_named(raw, message):
    with pytest.raises(ValueError, match=message):
        row(raw)


def test_split_of_messages_is_a_partition():
    prompt, completion = split_messages([USER, ANSWER], "row 3")
    assert prompt + completion == [USER, ANSWER]


def test_missing_columns_name_those_there_are():
    with pytest.raises(ValueError, match=r"here: no column 'prompt' or 'messages' \(columns: question, b\)"):
        check_columns(["question", "b"], None, None, "here")
    with pytest.raises(ValueError, match="input_key names a column 'questoin' .* did you mean 'question'"):
        check_columns(["question", "b"], "questoin", None, "here")
    with pytest.raises(ValueError, match="label_key names a column 'x'"):
        check_columns(["prompt"], None, "x", "here")
