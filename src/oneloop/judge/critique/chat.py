"""Questions to a chat model behind any OpenAI-compatible server, many at a time, answered once each.

    POST base_url/chat/completions {model, messages, temperature, max_tokens, seed}

Every reply is kept under the hash of its question the moment it arrives (in memory, or in an SQLite file that
survives a kill): asking again costs nothing. What fails for a while (connection, timeout, overload, a reply
that is no chat completion) is tried again with growing waits; when several calls in a row have failed for
good the rest of the batch is not tried. A failure is told in the reply and never taken for an answer.
Not here: streaming, tools, images, and what an answer means.
"""

import hashlib
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import Field

from oneloop.core.part import part

Message = Mapping[str, str]
Question = tuple[Sequence[Message], int]
"""A conversation, and the number of the draw: the same question is asked again under another number."""

BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
REFUSED = (401, 403, 404)
GIVE_UP = 3
"""After so many calls in a row failed for good the rest is not tried: the server is away."""
LONGEST_WAIT = 60.0


@part()
class ChatServer:
    """Where a chat model is, how it is asked, and what it costs."""

    base_url: Annotated[str, Field(pattern=r"^https?://")]
    """Address up to the version, such as http://localhost:8000/v1."""
    model: Annotated[str, Field(min_length=1)]
    """Name of the model at that server."""
    api_key_env: str | None = None
    """Environment variable that holds the key; None: no key. The key itself is written nowhere."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Of the chat model; at 0 it says the same each time."""
    max_tokens: Annotated[int, Field(ge=1)] = 2048
    """Tokens of a reply; one that is cut off has no last line and is not used."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds for one reply."""
    max_retries: Annotated[int, Field(ge=0)] = 4
    """How often a call that failed is made again."""
    retry_wait: Annotated[float, Field(ge=0)] = 0.5
    """Seconds before the first repetition; doubled for each further one, up to a minute."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """Calls under way at a time."""
    prompt_price: Annotated[float, Field(ge=0)] = 0.0
    """Price of a million tokens sent, in any currency."""
    completion_price: Annotated[float, Field(ge=0)] = 0.0
    """Price of a million tokens received."""
    cache: str | None = None
    """SQLite file that keeps replies across runs; None: in memory."""


@dataclass(frozen=True)
class Reply:
    """`text`, or `error` in words. `away`: the server failed, not this question."""

    text: str | None = None
    error: str | None = None
    away: bool = False
    cost: float = 0.0
    cached: bool = False


class MissingKey(ValueError):
    """The environment variable that should hold the key is not set."""


class Chat:
    """Asks one server. Safe to use from several threads."""

    def __init__(self, server: ChatServer):
        self.server = server
        self._kept = Kept(server.cache)

    def ask(self, questions: Sequence[Question]) -> list[Reply]:
        """One reply for each question, in order; the same question twice is asked once.

        Raises MissingKey. Every other failure is a reply with an error.
        """
        keys = [self._key(*question) for question in questions]
        found = {key: self._priced(*kept, cached=True) for key in keys if (kept := self._kept.get(key))}
        fresh = {key: question for key, question in zip(keys, questions, strict=True) if key not in found}
        answers = dict(zip(fresh, self._ask_fresh(fresh), strict=True)) | found
        replies: list[Reply] = []
        paid: set[str] = set()
        for key in keys:
            reply = answers[key]
            replies.append(
                replace(reply, cached=True, cost=0.0) if key in paid and reply.error is None else reply
            )
            paid.add(key)
        return replies

    def _ask_fresh(self, fresh: Mapping[str, Question]) -> list[Reply]:
        if not fresh:
            return []
        calls = Calls(self.server, self._headers())
        with ThreadPoolExecutor(min(self.server.concurrency, len(fresh))) as pool, calls.client:
            work = [pool.submit(self._ask_one, calls, key, *question) for key, question in fresh.items()]
            try:
                return [done.result() for done in work]
            except BaseException:  # Ctrl-C: do not start what has not begun
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask_one(self, calls: "Calls", key: str, messages: Sequence[Message], draw: int) -> Reply:
        answer = calls.post(self._body(messages, draw))
        if isinstance(answer, Reply):
            return answer
        self._kept.put(key, *answer)
        return self._priced(*answer)

    def _priced(self, text: str, sent: int, received: int, cached: bool = False) -> Reply:
        cost = (sent * self.server.prompt_price + received * self.server.completion_price) / 1e6
        return Reply(text, cost=0.0 if cached else cost, cached=cached)

    def _body(self, messages: Sequence[Message], draw: int) -> dict[str, Any]:
        server = self.server
        asked = {"model": server.model, "messages": list(messages), "seed": draw}
        return {**asked, "temperature": server.temperature, "max_tokens": server.max_tokens}

    def _key(self, messages: Sequence[Message], draw: int) -> str:
        asked = {**self._body(messages, draw), "base_url": self.server.base_url}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _headers(self) -> dict[str, str]:
        name = self.server.api_key_env
        if name is None:
            return {}
        if not (key := os.environ.get(name)):
            raise MissingKey(f"api_key_env: the environment variable {name} is not set or empty")
        return {"Authorization": f"Bearer {key}"}


Answer = tuple[str, int, int]
"""Text, tokens sent, tokens received."""


class Calls:
    """The calls of one batch: tries again, and gives up together when the server is away."""

    def __init__(self, server: ChatServer, headers: Mapping[str, str]):
        self._server = server
        self.client = httpx.Client(headers=dict(headers), timeout=server.timeout)
        self._url = server.base_url.rstrip("/") + "/chat/completions"
        self._lock, self._failed = threading.Lock(), 0

    def post(self, body: dict[str, Any]) -> Answer | Reply:
        """The answer, or a reply that says why there is none."""
        failure = Reply()
        for attempt in range(self._server.max_retries + 1):
            if self._failed >= GIVE_UP:
                return Reply(error=f"not tried: the last {GIVE_UP} calls failed", away=True)
            answer, again = self._once(body)
            if not isinstance(answer, Reply):
                self._count(away=False)
                return answer
            failure = answer
            if again is None or attempt == self._server.max_retries:
                break
            # a part of the wait is random, so that calls which failed together do not return together
            wait = self._server.retry_wait * 2**attempt * (0.5 + random.random() / 2)
            time.sleep(min(max(wait, again), LONGEST_WAIT))
        self._count(failure.away)
        tries = f" ({attempt + 1} tries)" if attempt else ""
        return replace(failure, error=f"{failure.error}{tries}")

    def _count(self, away: bool) -> None:
        with self._lock:
            self._failed = self._failed + 1 if away else 0

    def _once(self, body: dict[str, Any]) -> tuple[Answer | Reply, float | None]:
        """(answer or failure, seconds the server asks to wait before another try; None: no use)."""
        try:
            response = self.client.post(self._url, json=body)
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            return Reply(error=f"{self._url}: {words}", away=True), 0.0
        if response.status_code != 200:
            said = f"{self._url} answered {response.status_code}: {response.text[:200]}"
            busy = response.status_code in BUSY
            away = busy or response.status_code in REFUSED
            return Reply(error=said, away=away), asked_wait(response) if busy else None
        try:
            return read_completion(response.json()), None
        except (ValueError, KeyError, TypeError, IndexError):
            words = f"{self._url} answered no chat completion: {response.text[:200]!r}"
            return Reply(error=words, away=True), 0.0


def read_completion(answer: Any) -> Answer:
    """Text and token counts of an OpenAI chat completion. Raises for anything else."""
    text = answer["choices"][0]["message"]["content"]
    if not isinstance(text, str):
        raise TypeError(f"content is {text!r:.40}")
    usage = answer.get("usage") or {}
    return text, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)


def asked_wait(response: httpx.Response) -> float:
    """Seconds of a Retry-After header; 0 without one, or for one that is a date."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0


class Kept:
    """Replies by the hash of their question, in memory or in an SQLite file that processes may share."""

    def __init__(self, path: str | None):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._table = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=60)
        with self._table:
            self._table.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, text TEXT, sent INT, received INT)"
            )

    def get(self, key: str) -> Answer | None:
        """What was kept under `key`."""
        query = "SELECT text, sent, received FROM replies WHERE key = ?"
        with self._lock:
            row: Answer | None = self._table.execute(query, (key,)).fetchone()
        return row

    def put(self, key: str, text: str, sent: int, received: int) -> None:
        """Keeps an answer; it is on the disk when this returns."""
        with self._lock, self._table:
            row = (key, text, sent, received)
            self._table.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", row)


@cache
def shared(server: ChatServer) -> Chat:
    """The client of this server, one for the whole process: critics that ask the same share its replies."""
    return Chat(server)
