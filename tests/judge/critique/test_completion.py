"""Bodies of chat completions: a text, a failure of that question, or no chat completion at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.core.text import shown
from oneloop.judge.critique.completion import NoCompletion, read_completion


def body(message, **choice):
    return json.dumps({"choices": [{"message": message, **choice}]}).encode()


@pytest.mark.parametrize(
    ("message", "choice", "text"),
    [
        ({"content": "hi"}, {"finish_reason": "stop"}, "hi"),
        ({"content": "hi"}, {"finish_reason": None}, "hi"),
        ({"content": "hi", "reasoning_content": "hm"}, {}, "hi"),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "hi"}]}, {}, "hi"),
    ],
)
def test_a_text_is_read(message, choice, text):
    assert read_completion(body(message, **choice)).text == text


@pytest.mark.parametrize(
    ("given_body", "error"),
    [
        (body({"content": None}), "the reply has no text"),
        (body({"content": " \n"}), "the reply has no text"),
        (body({"content": None, "reasoning_content": "hm"}), "the reply has no text, only reasoning"),
        (body({"content": None, "refusal": "I\x1b will not"}), "the model refused: 'I\\\\x1b will not'"),
        (body({"content": "Wrong steps: ["}, finish_reason="length"), "the reply was cut off at max_tokens"),
        (body({"content": "x"}, finish_reason="content_filter"), "stopped by the server's content filter"),
        (body({"content": None}, finish_reason="tool_calls"), "calls a tool instead of answering"),
        (b'{"choices": []}', "the reply has no text"),
        (b'{"choices": [null]}', "the reply has no text"),
    ],
)
def test_a_well_formed_answer_without_text_says_why(given_body, error):
    found = read_completion(given_body)
    assert found.text is None and error in found.error


@pytest.mark.parametrize(
    ("given_body", "words", "status"),
    [
        (b"<html>502</html>", "no chat completion: '<html>502</html>'", None),
        (b"\xff\xfe", "no chat completion", None),
        (b"[" * 10**5, "no chat completion", None),
        (b"9" * 10**5, "no chat completion", None),
        (b"[]", "no chat completion", None),
        (b"{}", "no chat completion", None),
        (b'{"choices": 3}', "no chat completion", None),
        (b'{"error": {"message": "overloaded", "code": 529}}', "an error: overloaded", 529),
        (b'{"error": {"message": "bad", "code": "invalid_prompt"}}', "an error: bad", 400),
        (b'{"error": "bad"}', "an error: bad", 400),
    ],
)
def test_what_is_no_chat_completion_is_refused(given_body, words, status):
    with pytest.raises(NoCompletion) as caught:
        read_completion(given_body)
    assert words in str(caught.value) and caught.value.status == status


def test_counts_that_are_none_are_zero():
    usage = {"prompt_tokens": -5, "completion_tokens": 1e400}
    answer = {"choices": [{"message": {"content": "hi"}}], "usage": usage}
    found = read_completion(json.dumps(answer).encode())
    assert (found.sent, found.received) == (0, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "usage",
                    "error",
                    "code",
                    "finish_reason",
                    "refusal",
                    "type",
                    "text",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(answer):
    try:
        found = read_completion(json.dumps(answer).encode())
    except NoCompletion as error:
        assert shown(str(error)) == str(error)
    else:
        assert (found.text is None) != (found.error is None)
