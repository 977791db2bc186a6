"""server.py against a real server process: same tokens as the model, abort, retries, ways to fail."""

import base64
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from test_slots import agree, ragged
from tests.support.rounding import Exact
from tiny_models import tiny

from oneloop.engines.completions import seed
from oneloop.engines.law import Law
from oneloop.engines.request import Request
from oneloop.engines.served import ServerLost
from oneloop.engines.server import ServerEngine
from oneloop.engines.slots import SlotEngine


@contextmanager
def server():
    """The URL of a running completions server."""
    script = Path(__file__).with_name("completions_server.py")
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def url():
    with server() as address:
        yield address


@contextmanager
def faults(url, **wanted):
    """The server breaks in these ways for a while."""
    httpx.post(f"{url}/faults", json=wanted)
    yield
    httpx.post(f"{url}/faults", json={})


def locally(requests, **options):
    """What the model itself gives under the seeds the server is sent."""
    seeded = [
        Request(seed(r.key, len(r.partial)), r.group, (*r.prompt, *r.partial), r.limit - len(r.partial))
        for r in requests
    ]
    return SlotEngine(tiny("llama"), **options).generate(seeded)


def same(requests, ours, theirs, law=None):
    agree(tiny("llama"), requests, ours, theirs, law)
    assert all(reply.logprobs.dtype == np.float32 for reply in ours)


@pytest.mark.parametrize("law", [Law(), Law(0.7), Law(0), Law(1.2, 9, 0.9, 0.01)])
def test_replies_equal_the_model_itself(url, law):
    requests, seen = ragged(3, limit=12, copies=2), []
    engine = ServerEngine(url, eos=(3, 20), law=law, concurrency=4)
    replies = engine.generate(requests, progress=lambda *counts: seen.append(counts))
    same(requests, replies, locally(requests, eos=(3, 20), law=law), law)
    assert seen[-1] == (sum(len(reply.tokens) for reply in replies), 6)
    assert engine.model == "tiny" and engine.positions == 128 and engine.generate([]) == []


def test_stop_strings_are_the_servers(url):
    requests = ragged(4, limit=40, copies=2)
    replies = ServerEngine(url, stop=["q", "zb"]).generate(requests)
    decode = lambda ids: "".join(chr(97 + t % 26) for t in ids)  # noqa: E731
    same(requests, replies, locally(requests, eos=(), stop=["q", "zb"], decode=decode))
    assert sum(reply.status == "stop" for reply in replies) > 4


def test_a_partial_is_continued(url):
    requests = [Request(r.key, r.group, r.prompt, 9, (5, 6, 7)) for r in ragged(3)]
    replies = ServerEngine(url).generate(requests)
    same(requests, replies, locally(requests, eos=()))
    assert all(len(reply.tokens) == 6 for reply in replies)


def test_enough_aborts_and_keeps_what_arrived(url):
    requests = ragged(4, limit=100, copies=2)
    requests = [Request(r.key, r.group, r.prompt, 4 if r.group == 2 else 100) for r in requests]
    with faults(url, pause=0.02):
        replies = ServerEngine(url).generate(requests, enough=1)
        exact = Exact(tiny("llama"))
        for request, reply, whole in zip(requests, replies, locally(requests, eos=()), strict=True):
            assert reply.status == ("length" if request.group == 2 else "aborted")
            assert reply.tokens == whole.tokens[: len(reply.tokens)] and len(reply.tokens) < 100
            exact.agrees(request.prompt, reply.tokens, reply.logprobs)
        assert sum(len(reply.tokens) for reply in replies) > 8
        deadline = time.monotonic() + 10
        while httpx.get(f"{url}/v1/models").json()["streams"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert httpx.get(f"{url}/v1/models").json()["streams"] == 0  # the server was told


def test_busy_answers_are_retried(url):
    requests = ragged(3, limit=5)
    with faults(url, busy=4):
        same(requests, ServerEngine(url, backoff=0.02).generate(requests), locally(requests, eos=()))


def test_a_cut_stream_goes_on_from_the_tokens_that_arrived(url):
    requests = ragged(3, limit=8)
    with faults(url, cut=3):
        replies = ServerEngine(url, backoff=0.02).generate(requests)
    first = locally(requests, eos=())
    rest = locally(
        [
            Request(r.key, r.group, r.prompt, 8, reply.tokens[:3])
            for r, reply in zip(requests, first, strict=True)
        ],
        eos=(),
    )
    exact = Exact(tiny("llama"))
    for request, reply, start, end in zip(requests, replies, first, rest, strict=True):
        assert reply.tokens == start.tokens[:3] + end.tokens and reply.status == "length"
        exact.agrees(request.prompt, reply.tokens, reply.logprobs)


def test_a_server_killed_mid_batch_is_an_error_that_keeps_what_arrived():
    requests = ragged(4, limit=20)
    with server() as url:
        httpx.post(f"{url}/faults", json={"tokens": 30, "pause": 0.002})
        engine = ServerEngine(url, retries=1, backoff=0.02)
        with pytest.raises(
            ServerLost, match=rf"{url}: lost \d of 4 requests \(requests\[.*after 1 retries; \d+ of"
        ) as caught:
            engine.generate(requests)
        replies = caught.value.replies
        assert 20 <= sum(len(reply.tokens) for reply in replies) <= 34  # each stream may be one ahead
        for reply, whole in zip(replies, locally(requests, eos=()), strict=True):
            assert reply.tokens == whole.tokens[: len(reply.tokens)]
            assert reply.status == ("length" if len(reply.tokens) == 20 else "aborted")
        with pytest.raises(ServerLost, match="no server answers"):
            ServerEngine(url)


def test_servers_that_cannot_be_trusted_are_refused(url):
    with (
        faults(url, no_token_ids=True),
        pytest.raises(ValueError, match=f"{url}: the reply has no token ids"),
    ):
        ServerEngine(url).generate(ragged(2))
    with faults(url, raw_logprobs=True):
        with pytest.raises(ValueError, match="not of Law.*--logprobs-mode processed_logprobs"):
            ServerEngine(url, law=Law(0.7)).generate(ragged(2))
        replies = ServerEngine(url).generate(ragged(2))  # without a law to ignore
        same(ragged(2), replies, locally(ragged(2), eos=()))
    with pytest.raises(ValueError, match=f"{url}: answered 400 Bad Request: .*no such token"):
        ServerEngine(url).generate([Request(0, 0, (99,), 4)])
    with pytest.raises(ValueError, match="got 'large', but .* serves tiny"):
        ServerEngine(url, model="large")
    with pytest.raises(ValueError, match="129 positions, but the model has 128"):
        ServerEngine(url).generate([Request(0, 0, (1,) * 100, 29)])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"junk": True}, "no new token for 1 s"),
        ({"wide": True}, "a line of more than 4,194,304 bytes"),
        ({"say": {"error": "\x1b[2Jno"}}, r"the server reported \\x1b\[2Jno"),
        ({"say": {"choices": [3]}}, "the server sent 3 for a choice"),
        ({"say": []}, "which is no completion"),
    ],
)
def test_a_server_that_sends_anything_but_tokens_is_given_up_in_time(url, fault, words):
    with faults(url, **fault), pytest.raises(ServerLost, match=words):
        ServerEngine(url, retries=0, timeout=1.0).generate(ragged(1, limit=4))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"beyond": True}, "sent more than the 4 tokens it was asked for"),
        (
            {"say": {"choices": [{"token_ids": ["7"], "finish_reason": "stop"}]}},
            r"token ids are \['7'\], not num",
        ),
        (
            {"say": {"choices": [{"token_ids": [7], "logprobs": {"token_logprobs": ["x"]}}]}},
            r"log-probs \['x'\]",
        ),
    ],
)
def test_tokens_that_cannot_be_are_refused(url, fault, words):
    with faults(url, **fault), pytest.raises(ValueError, match=words):
        ServerEngine(url, retries=0).generate(ragged(1, limit=4))


def test_a_password_in_the_address_is_sent_and_never_shown(url):
    engine = ServerEngine(url.replace("http://", "http://me:secret@"))
    engine.generate(ragged(1, limit=4))
    sent = httpx.get(f"{url}/v1/models").json()["logins"][-1]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"me:secret" and engine.url == url
    with pytest.raises(ServerLost, match="http://127.0.0.1:9: no server answers"):
        ServerEngine("http://me:secret@127.0.0.1:9")


def test_it_works_where_a_loop_is_running(url):
    import asyncio

    async def cell():
        return ServerEngine(url).generate(ragged(2, limit=4))

    requests = ragged(2, limit=4)
    same(requests, asyncio.run(cell()), locally(requests, eos=()))
