import numpy as np
import pytest

from oneloop.sample.data.columns import ColumnOptions, split_messages

USER = {"role": "user", "content": "1+1"}
ANSWER = {"role": "assistant", "content": "2"}


def row(raw, input_key=None, label_key=None, **options):
    return ColumnOptions(input_key, label_key, **options).row(raw, "row 3")


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


def test_a_demonstration_in_a_column_of_another_name():
    raw = {"instruction": "q", "output": "a", "completion": "other"}
    assert row(raw, "instruction", completion_key="output")["completion"] == "a"
    assert row({**raw, "output": [ANSWER]}, "instruction", completion_key="output")["completion"] == "2"
    with pytest.raises(ValueError, match="row 3: a completion is text or one turn of text, got 5"):
        row({**raw, "output": 5}, "instruction", completion_key="output")
    with pytest.raises(ValueError, match="completion_key names a column 'outptu' .* did you mean 'output'"):
        ColumnOptions("instruction", completion_key="outptu").check(list(raw), "here")


def test_the_row_given_is_not_changed():
    raw = {"messages": [USER, ANSWER]}
    row(raw)
    assert raw == {"messages": [USER, ANSWER]}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"prompt": 5}, r"row 3: a prompt is text or a list of messages, got 5 \(int\)"),
        ({"prompt": None}, r"row 3: there is no prompt \(column 'prompt' is empty\)"),
        ({"prompt": ["hi"]}, "row 3: expected a list of messages with a role each"),
        ({"prompt": [{"from": "human", "value": "x"}]}, "write {from, value} of ShareGPT as {role"),
        ({"prompt": [{"role": 1, "content": "x"}]}, "row 3: expected a list of messages with a role each"),
        (
            {"prompt": [USER, {"role": "user"}]},
            r"row 3: message 2 of 2 \(role 'user'\) needs a content .* None",
        ),
        (
            {"prompt": [{"role": "user", "content": 4}]},
            "row 3: message 1 of 1 .* text or a list of parts, got 4",
        ),
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
        ColumnOptions().check(["question", "b"], "here")
    with pytest.raises(ValueError, match="input_key names a column 'questoin' .* did you mean 'question'"):
        ColumnOptions("questoin").check(["question", "b"], "here")
    with pytest.raises(ValueError, match="label_key names a column 'x'"):
        ColumnOptions(label_key="x").check(["prompt"], "here")


def test_a_text_becomes_a_message_where_chat_is_asked_for():
    assert row({"prompt": "1+1"})["prompt"] == "1+1"
    assert row({"prompt": "1+1"}, chat=True)["prompt"] == [USER]
    assert row({"prompt": [USER]}, chat=True)["prompt"] == [USER]
    assert row({"prompt": "1+1"}, chat=False)["prompt"] == "1+1"
    with pytest.raises(ValueError, match="row 3: the prompt is a list of messages, but chat is false"):
        row({"prompt": [USER]}, chat=False)


def test_a_system_message_begins_every_conversation():
    system = {"role": "system", "content": "Be brief."}
    for prompt in ("1+1", [USER]):
        assert row({"prompt": prompt}, system="Be brief.")["prompt"] == [system, USER]
    with pytest.raises(ValueError, match="row 3: the prompt begins with a system message of its own"):
        row({"prompt": [system, USER]}, system="Be brief.")
    with pytest.raises(ValueError, match="a system message needs a conversation"):
        ColumnOptions(system="Be brief.", chat=False)


def test_a_turn_that_calls_tools_needs_no_content():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    assert row({"prompt": [USER, call]})["prompt"] == [
        USER,
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
    ]


def test_a_table_of_texts_and_messages_takes_what_each_row_has():
    assert row({"prompt": None, "messages": [USER, ANSWER]})["completion"] == "2"
    assert row({"prompt": "p", "messages": None})["prompt"] == "p"
    assert row({"prompt": "p", "answer": None, "reward_model": {"ground_truth": "2"}})["answer"] == "2"


@pytest.mark.parametrize(("raw", "key"), [({"prompt": [128000, 9906, 11]}, None), ({"ids": [1]}, "ids")])
def test_token_ids_are_refused_with_the_way_to_give_text(raw, key):
    with pytest.raises(ValueError, match=r"^row 3: the prompt is a list of \d token ids .*input_key names"):
        row(raw, input_key=key)


def test_lists_that_pandas_made_arrays_of_are_lists():
    raw = {"prompt": np.array([USER], dtype=object), "answer": np.array(["2", "two"], dtype=object)}
    assert row(raw) == {"prompt": [USER], "answer": ["2", "two"]}
    with pytest.raises(ValueError, match="a list of 3 token ids"):
        row({"prompt": np.array([1, 2, 3])})
    picture = np.zeros((2, 2, 3))
    assert row({"prompt": "p", "image": picture})["image"] is picture
