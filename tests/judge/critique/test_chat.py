"""The chat client against a real server process: answers are kept, failures told, nothing asked twice."""

import sqlite3
import time
import tracemalloc

import pytest
from pydantic import ValidationError

from oneloop.judge.critique.chat import Chat, MissingKey
from oneloop.judge.critique.chat_server import ChatServer
from tests.judge.critique.chat_servers import Server

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def server():
    started = Server()
    yield started
    started.close()


def options(server, **changes):
    return ChatServer(
        **{"base_url": server.url, "model": "m", "max_retries": 1, "retry_wait": 0.01, **changes}
    )


def ask(server, questions, **changes):
    return Chat(options(server, **changes)).ask(questions)


def test_what_is_sent_and_what_it_costs(server, monkeypatch):
    server.break_(say="hi")
    monkeypatch.setenv("MY_KEY", "secret")
    prices = {"prompt_price": 2.0, "completion_price": 30.0}
    (reply,) = ask(server, [(HELLO, 7)], api_key_env="MY_KEY", temperature=0.5, max_tokens=9, **prices)
    assert reply.text == "hi" and reply.error is None and not reply.cached
    assert reply.cost == pytest.approx((100 * 2 + 10 * 30) / 1e6)
    (request,) = server.asked()
    assert request["key"] == "Bearer secret"
    body = {"model": "m", "messages": HELLO, "seed": 7, "temperature": 0.5, "max_tokens": 9}
    assert request["body"] == body


def test_a_missing_key_is_told_before_anything_is_asked(server):
    server.break_(say="hi")
    with pytest.raises(MissingKey, match="environment variable NO_SUCH_KEY is not set"):
        ask(server, [(HELLO, 0)], api_key_env="NO_SUCH_KEY")
    assert server.asked() == []


def test_a_question_is_asked_once_and_paid_once(server):
    server.break_(say="hi")
    client = Chat(options(server, prompt_price=10.0))
    replies = client.ask([(HELLO, 0), (HELLO, 1), (HELLO, 0)])
    assert len(server.asked()) == 2 and [reply.cached for reply in replies] == [False, False, True]
    again = client.ask([(HELLO, 1)])
    assert len(server.asked()) == 2 and again[0].cached and again[0].cost == 0 and replies[0].cost > 0


def test_replies_survive_on_the_disk(server, tmp_path):
    server.break_(say="first")
    kept = str(tmp_path / "deep" / "replies.sqlite")
    assert ask(server, [(HELLO, 0)], cache=kept)[0].text == "first"
    server.break_(say="second")
    replies = ask(server, [(HELLO, 0), (HELLO, 1)], cache=kept)
    assert [reply.text for reply in replies] == ["first", "second"] and len(server.asked()) == 1
    assert ask(server, [(HELLO, 0)], cache=kept, temperature=0.9)[0].text == "second", "another question"
    rows = sqlite3.connect(kept).execute("SELECT count(*) FROM replies").fetchone()
    assert rows == (3,)


def test_overload_is_waited_out(server):
    server.break_(say="hi", busy=2)
    assert ask(server, [(HELLO, 0)], max_retries=2)[0].text == "hi"
    server.break_(say="hi", busy=2)
    (reply,) = ask(server, [(HELLO, 0)], max_retries=1)
    assert reply.text is None and reply.away and "answered 503" in reply.error and "(2 tries)" in reply.error


@pytest.mark.parametrize(("status", "away"), [(400, False), (401, True), (404, True)])
def test_a_refusal_is_not_repeated(server, status, away):
    server.break_(refuse=status)
    (reply,) = ask(server, [(HELLO, 0)], max_retries=3)
    assert f"answered {status}" in reply.error and reply.away == away and len(server.asked()) == 1


def test_what_is_no_chat_completion_is_a_failure(server):
    server.break_(garbage=True)
    (reply,) = ask(server, [(HELLO, 0)])
    assert "answered no chat completion: '<html>502</html>'" in reply.error and reply.away
    assert len(server.asked()) == 2


def test_a_reply_without_text_is_the_failure_of_that_question_alone(server):
    server.break_(say="hi", nulls=10)
    replies = ask(server, [(HELLO, draw) for draw in range(60)], concurrency=4, prompt_price=10.0)
    failed = [reply for reply in replies if reply.error]
    assert len(server.asked()) == 60 and len(failed) == 6, "every question is asked, once"
    assert not any(reply.away for reply in failed)
    assert {reply.error for reply in failed} == {"the reply has no text"}
    assert all(reply.cost == pytest.approx(100 * 10 / 1e6) for reply in replies), "its tokens were paid for"
    server.break_(say="hi", nulls=1)
    assert not ask(server, [(HELLO, draw) for draw in range(8)], concurrency=1)[-1].away, "all, and asked"


@pytest.mark.parametrize(
    ("fault", "words"), [({"drip": 0.3}, "no whole answer"), ({"drip_head": 0.3}, "no whole")]
)
def test_the_timeout_is_for_the_whole_reply(server, fault, words):
    server.break_(say="hi", **fault)
    (reply,) = ask(server, [(HELLO, 0)], timeout=1.0, max_retries=0)
    server.break_()
    assert reply.away and words in reply.error and "within 1 s" in reply.error


def test_a_reply_of_any_size_is_cut_off_in_time(server):
    server.break_(huge=1 << 30)
    tracemalloc.start()
    (reply,) = ask(server, [(HELLO, 0)], max_retries=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "answered more than 4,194,304 bytes" in reply.error and not reply.away and peak < 64 << 20
    server.break_(say="hi", gzip=True)
    (reply,) = ask(server, [(HELLO, 0)], max_retries=0)
    server.break_()
    assert "in the encoding 'gzip' although none was asked for" in reply.error


def test_what_a_server_says_cannot_reach_the_terminal_as_commands(server):
    server.break_(body={"error": {"message": "\x1b]0;owned\x07\x1b[2J\nno", "code": 400}})
    (reply,) = ask(server, [(HELLO, 0)])
    assert reply.error.endswith("answered an error: \\x1b]0;owned\\x07\\x1b[2J no") and not reply.away
    server.break_(body={"choices": [{"message": {"content": "a\ud800b"}}]})
    assert ask(server, [([{"role": "user", "content": "\ud800"}], 0)])[0].text == "a?b"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me:secret@x/v1", r"base_url: http://\*\*\*@x/v1 holds a password"),
        ("http://x/v1?key=secret", r"got http://x/v1\?\*\*\*"),
        ("http://[x/v1", "base_url: http://\\*\\*\\* is no address"),
        ("http://", "a host and a path are wanted"),
    ],
)
def test_addresses_that_would_leak_or_cannot_work_are_refused(url, message):
    with pytest.raises(ValidationError, match=message) as caught:
        ChatServer(base_url=url, model="m")
    assert "secret" not in "; ".join(fault["msg"] for fault in caught.value.errors())


def test_a_whole_header_may_be_named(server, monkeypatch):
    server.break_(say="hi")
    monkeypatch.setenv("MY_HEADER", "Basic bWU6c2VjcmV0\n")
    ask(server, [(HELLO, 0)], api_key_env="MY_HEADER")
    assert server.asked()[0]["key"] == "Basic bWU6c2VjcmV0"


def test_after_three_failures_in_a_row_the_rest_is_not_tried(server):
    server.break_(busy=10**6)
    replies = ask(server, [(HELLO, draw) for draw in range(30)], max_retries=0, concurrency=1)
    assert len(server.asked()) == 3 and all(reply.away for reply in replies)
    assert replies[-1].error.startswith("not tried: the last 3 calls failed, http://127.0.0.1:")
    server.break_(refuse=400)  # a question that is refused says nothing of the others
    replies = ask(server, [(HELLO, draw) for draw in range(5)], concurrency=1)
    assert len(server.asked()) == 5 and not any(reply.away for reply in replies)


def test_no_server_at_all():
    start = time.monotonic()
    nowhere = ChatServer(base_url="http://127.0.0.1:9/v1", model="m", max_retries=1, retry_wait=0.01)
    replies = Chat(nowhere).ask([(HELLO, draw) for draw in range(50)])
    assert all(reply.away for reply in replies) and "127.0.0.1:9" in replies[0].error
    assert time.monotonic() - start < 30
