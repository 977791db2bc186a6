"""The server engine: the same `generate`, answered by an OpenAI-compatible server (vLLM, SGLang).

One streamed POST /v1/completions a request, in the dialect of completions.py. Requests that the network
interrupts go on from the tokens that arrived. The server draws its own random numbers, so unlike with
slots.py an abort and a resume do change later tokens.
Not here: starting servers, and giving them new weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import httpx

from oneloop.core.text import one_line
from oneloop.core.web import PLAIN, Unreadable, body_of, split_login, wait_for
from oneloop.engines.completions import Dialect, Interrupted, Stream
from oneloop.engines.law import Law
from oneloop.engines.request import Groups, Progress, Reply, Request, check
from oneloop.engines.served import LARGEST, ServerLost, served


class ServerEngine:
    """Samples completions from the server at `url` (for example "http://localhost:8000").

    model: its name there; None takes the only one served. eos, stop: token ids and strings that end a turn,
    beside the server's own. concurrency: requests in the air at once. retries: attempts after a failure
    without a new token in between, after backoff, 2 * backoff, 4 * backoff ... seconds. timeout: seconds
    without a new token that count as a failure, whatever else the server sends. A user name and a password
    in the url are sent, and shown nowhere.
    Raises ServerLost if nobody answers, ValueError if the model is not served there.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        eos: Collection[int] = (),
        law: Law = Law(),  # noqa: B008 (frozen)
        stop: Sequence[str] = (),
        concurrency: int = 64,
        retries: int = 5,
        backoff: float = 0.5,
        timeout: float = 600.0,
        api_key: str | None = None,
    ) -> None:
        bare, self._login = split_login(url)
        self.url = bare.rstrip("/").removesuffix("/v1")
        self.concurrency, self.retries, self.backoff, self.timeout = concurrency, retries, backoff, timeout
        self._headers = {**PLAIN, **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        self.model, self.positions = served(self.url, model, self._client, timeout)
        self.dialect = Dialect(self.url, self.model, law, frozenset(map(int, eos)), tuple(stop))
        self._law_checked = False

    def generate(
        self, requests: Sequence[Request], enough: int | None = None, progress: Progress | None = None
    ) -> list[Reply]:
        """Sample every request; replies in the order of requests, as `SlotEngine.generate`.

        Raises ValueError for what the server refuses (naming URL and status) or cannot tell, and ServerLost,
        with the replies so far, when it stays away.
        """
        check(requests, self.positions, self.dialect.eos)
        groups = Groups(requests, enough)
        if not requests:
            return []
        streams = [Stream(request) for request in requests]
        failures = wait_for(self._all(streams, groups, progress))
        replies = [stream.reply() for stream in streams]
        if failures:
            raise ServerLost(self._lost(failures, replies), replies)
        return replies

    def _lost(self, failures: dict[int, Interrupted], replies: list[Reply]) -> str:
        places = sorted(failures)
        names = ", ".join(f"requests[{place}]" for place in places[:8]) + (", ..." if len(places) > 8 else "")
        arrived = sum(len(replies[place].tokens) for place in places)
        return (
            f"{self.url}: lost {len(places)} of {len(replies)} requests ({names}) "
            f"after {self.retries} retries; {arrived} of their tokens had arrived (in .replies, as aborted). "
            f"Last failure: {failures[places[-1]]}"
        )

    async def _all(
        self, streams: list[Stream], groups: Groups, progress: Progress | None
    ) -> dict[int, Interrupted]:
        """Run all streams to their end, or until enough groups are complete; gives {place: failure}."""
        async with self._client() as client:
            if not self._law_checked:
                self._law_checked = await self._law_is_honoured(client, streams[0].request)
            gate, finished = asyncio.Semaphore(self.concurrency), 0

            async def one(stream: Stream) -> None:
                async with gate:
                    await self._complete(client, stream)

            tasks = {asyncio.ensure_future(one(stream)): place for place, stream in enumerate(streams)}
            waiting, failures = set(tasks), {}
            try:
                while waiting and not groups.reached:
                    done, waiting = await asyncio.wait(
                        waiting, timeout=0.2, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in sorted(done, key=tasks.__getitem__):
                        try:
                            task.result()
                        except Interrupted as failure:
                            failures[tasks[task]] = failure
                            continue
                        finished += 1
                        groups.finish(streams[tasks[task]].request.group)
                    if progress is not None:
                        progress(sum(len(stream.tokens) for stream in streams), finished)
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
        return failures

    async def _complete(self, client: httpx.AsyncClient, stream: Stream) -> None:
        """One request to its end, in as many attempts as it takes. Raises Interrupted when they run out."""
        failed = 0
        while True:
            before = len(stream.tokens)
            try:
                return await self._attempt(client, stream)
            except (httpx.TransportError, TimeoutError, Interrupted) as error:
                failed = 1 if len(stream.tokens) > before else failed + 1
                if failed > self.retries:
                    raise Interrupted(self._words(error)) from error
                await asyncio.sleep(self.backoff * 2 ** (failed - 1))

    def _words(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no new token for {self.timeout:g} s"
        return f"{type(error).__name__}: {one_line(str(error))}" if str(error) else type(error).__name__

    async def _attempt(self, client: httpx.AsyncClient, stream: Stream) -> None:
        """Stream tokens from the server until it says why it stopped. TimeoutError without new ones."""
        body, clock = self.dialect.body(stream), asyncio.get_running_loop()
        async with (
            asyncio.timeout(self.timeout) as deadline,
            client.stream("POST", f"{self.url}/v1/completions", json=body) as response,
        ):
            if response.status_code != 200:
                content = await self._body(response)
                self.dialect.refuse(response.status_code, response.reason_phrase, content)
            async for line in lines_of(response):
                if not line.startswith(b"data:") or line == b"data: [DONE]":
                    continue
                before = len(stream.tokens)
                reason = self.dialect.take(stream, _parsed(line))
                if reason in ("stop", "length"):
                    stream.status = "stop" if reason == "stop" else "length"
                    return
                if reason is not None:
                    raise Interrupted(f"the server ended it with finish_reason {one_line(reason, 40)!r}")
                if len(stream.tokens) > before:
                    deadline.reschedule(clock.time() + self.timeout)
        raise Interrupted("the stream ended without a finish_reason")

    async def _body(self, response: httpx.Response) -> bytes:
        try:
            return await body_of(response, LARGEST)
        except Unreadable as error:
            raise Interrupted(str(error)) from None

    async def _law_is_honoured(self, client: httpx.AsyncClient, request: Request) -> bool:
        """As `Dialect.law_is_honoured`; False, "ask again later", where the server does not answer."""
        answers = []
        for body in self.dialect.law_questions(request):
            try:
                async with (
                    asyncio.timeout(self.timeout),
                    client.stream("POST", f"{self.url}/v1/completions", json=body) as response,
                ):
                    if response.status_code != 200:
                        return False
                    answers.append(await self._body(response))
            except (httpx.TransportError, TimeoutError, Interrupted):
                return False
        return self.dialect.law_is_honoured(answers)

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=self.concurrency)
        auth = None if self._login is None else httpx.BasicAuth(*self._login)
        return httpx.AsyncClient(headers=self._headers, auth=auth, timeout=None, limits=limits)


async def lines_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """Lines of a streamed body. Raises Interrupted for one that is longer than LARGEST bytes."""
    rest = b""
    async for piece in response.aiter_raw():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.strip()
        if len(rest) > LARGEST:
            raise Interrupted(f"the stream has a line of more than {LARGEST:,} bytes")
    yield rest.strip()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        chunk = json.loads(line[5:])
    except (ValueError, RecursionError) as error:  # the server died while writing it
        shown = one_line(line[:60].decode(errors="replace"))
        raise Interrupted(f"the stream broke off in {shown!r}") from error
    if not isinstance(chunk, dict):
        raise Interrupted(f"the stream holds {one_line(repr(chunk)[:200], 60)}, which is no completion")
    return chunk
