"""The calls of one batch of questions: each bounded in time and size, tried again, given up together.

What fails for a while (connection, deadline, 429, 5xx, a body that is no chat completion) is tried again with
growing waits. When several calls in a row have failed for good the server is away, and the rest of the batch
is not tried. A well-formed answer without a usable text is the failure of that question alone.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from oneloop.core.text import one_line
from oneloop.core.web import PLAIN, Unreadable, body_of
from oneloop.judge.critique.chat_server import ChatServer
from oneloop.judge.critique.completion import ChatAnswer, NoCompletion, read_completion

REFUSED = (401, 403, 404)
"""No question will be answered: wrong key, wrong address, no such model."""
GIVE_UP = 3
"""Calls in a row that fail for good after which the rest is not tried: the server is away."""
LONGEST_WAIT = 60.0
LARGEST = 4 << 20
"""Bytes of an answer; one of 100,000 tokens has about a tenth of that."""


@dataclass(frozen=True)
class CallFailure:
    """Why a call has no answer, in words. `away`: the server failed, not this question."""

    error: str
    away: bool = False
    again: float | None = None
    """Seconds the server asks to wait before another try; None: another try is of no use."""


class Calls:
    """Calls to one server, within one event loop; an asynchronous context."""

    def __init__(self, server: ChatServer, headers: Mapping[str, str]):
        self._server = server
        limits = httpx.Limits(max_connections=server.concurrency)
        sent = {**headers, **PLAIN, "Content-Type": "application/json"}
        self._client = httpx.AsyncClient(headers=sent, timeout=None, limits=limits)
        self._url = server.base_url.rstrip("/") + "/chat/completions"
        self._gate, self._failed, self._said = asyncio.Semaphore(server.concurrency), 0, ""

    async def __aenter__(self) -> "Calls":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def post(self, body: dict[str, Any]) -> ChatAnswer | CallFailure:
        """The answer to one question, or why there is none after all tries."""
        async with self._gate:
            attempt, failure = 0, CallFailure("not tried")
            while attempt <= self._server.max_retries:
                if self._failed >= GIVE_UP:
                    tried = "not tried" if not attempt else "given up"
                    return CallFailure(f"{tried}: the last {GIVE_UP} calls failed, {self._said}", away=True)
                answer = await self._once(body)
                if isinstance(answer, ChatAnswer):
                    self._failed = 0
                    return answer
                attempt, failure = attempt + 1, answer
                if failure.again is None:
                    break
                if attempt <= self._server.max_retries:
                    await asyncio.sleep(self._wait(attempt, failure.again))
            self._failed = self._failed + 1 if failure.away else 0
            self._said = failure.error
            tries = f" ({attempt} tries)" if attempt > 1 else ""
            return CallFailure(f"{failure.error}{tries}", failure.away)

    def _wait(self, failed: int, asked: float) -> float:
        """Seconds before the next try."""
        # a part is random, so that calls which failed together do not return together
        wait: float = self._server.retry_wait * 2 ** (failed - 1) * (0.5 + random.random() / 2)
        return min(max(wait, asked), LONGEST_WAIT)

    async def _once(self, body: dict[str, Any]) -> ChatAnswer | CallFailure:
        """One try, from connecting to the last byte within the server's `timeout`."""
        seconds = self._server.timeout
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream("POST", self._url, content=json.dumps(body)) as response,
            ):
                content = await body_of(response, LARGEST)
        except TimeoutError:
            return CallFailure(f"{self._url}: no whole answer within {seconds:g} s", away=True, again=0.0)
        except httpx.HTTPError as error:
            words = one_line(str(error)) or type(error).__name__
            return CallFailure(f"{self._url}: {words}", away=True, again=0.0)
        except Unreadable as error:
            return CallFailure(f"{self._url} {error}")
        if response.status_code != 200:
            return self._refused(response, content)
        try:
            return read_completion(content)
        except NoCompletion as error:
            status, words = error.status, f"{self._url} answered {error}"
            away = status is None or server_fails(status) or status in REFUSED
            return CallFailure(words, away, 0.0 if status is None or server_fails(status) else None)

    def _refused(self, response: httpx.Response, content: bytes) -> CallFailure:
        status = response.status_code
        words = one_line(content[:200].decode(errors="replace"))
        busy = server_fails(status)
        # a redirection leads every question elsewhere
        away = busy or status in REFUSED or 300 <= status < 400
        return CallFailure(
            f"{self._url} answered {status}: {words}", away, asked_wait(response) if busy else None
        )


def server_fails(status: int) -> bool:
    """Whether an HTTP status speaks of the server's state and not of this question: worth another try."""
    return status in (408, 425, 429) or 500 <= status < 600


def asked_wait(response: httpx.Response) -> float:
    """Seconds of a Retry-After header; 0 without one, or for one that is a date or no number."""
    try:
        seconds = float(response.headers.get("retry-after", 0))
    except ValueError:
        return 0.0
    return seconds if seconds > 0 else 0.0
