"""The server engine: the same `generate`, answered by an OpenAI-compatible server (vLLM, SGLang).

One streamed POST /v1/completions a request, in the dialect of completions.py. Requests that the network
interrupts go on from the tokens that arrived. The server draws its own random numbers, so unlike with
slots.py an abort and a resume do change later tokens.
Not here: starting servers, and giving them new weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from oneloop.engines.completions import Dialect, Interrupted, Stream
from oneloop.engines.law import Law
from oneloop.engines.request import Groups, Progress, Reply, Request, check


class ServerLost(ConnectionError):
    """The server could not be reached, or died, and the retries did not help."""

    def __init__(self, message: str, replies: list[Reply]) -> None:
        super().__init__(message)
        self.replies = replies
        """One a request: those that finished, and what had arrived of the others (status "aborted")."""


class ServerEngine:
    """Samples completions from the server at `url` (for example "http://localhost:8000").

    model: its name there; None takes the only one served. eos, stop: token ids and strings that end a turn,
    beside the server's own. concurrency: requests in the air at once. retries: attempts after a failure
    without a new token in between, after backoff, 2 * backoff, 4 * backoff ... seconds. timeout: seconds of
    silence that count as a failure.
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
        self.url = url.rstrip("/").removesuffix("/v1")
        self.concurrency, self.retries, self.backoff, self.timeout = concurrency, retries, backoff, timeout
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.model, self.positions = self._served(model)
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
        failures = _run(self._all(streams, groups, progress))
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
        """Run all streams to their end, or until enough groups are complete; gives what was lost."""
        limits = httpx.Limits(max_connections=self.concurrency)
        async with httpx.AsyncClient(headers=self._headers, timeout=self.timeout, limits=limits) as client:
            if not self._law_checked:
                self._law_checked = await self.dialect.law_is_honoured(client, streams[0].request)
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
            except (httpx.TransportError, Interrupted) as error:
                failed = 1 if len(stream.tokens) > before else failed + 1
                if failed > self.retries:
                    raise Interrupted(
                        f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                    ) from error
                await asyncio.sleep(self.backoff * 2 ** (failed - 1))

    async def _attempt(self, client: httpx.AsyncClient, stream: Stream) -> None:
        """Stream tokens from the server until it says why it stopped."""
        body = self.dialect.body(stream)
        async with client.stream("POST", f"{self.url}/v1/completions", json=body) as response:
            if response.status_code != 200:
                await response.aread()
                self.dialect.refuse(response)
            async for line in response.aiter_lines():
                if not line.startswith("data:") or line == "data: [DONE]":
                    continue
                reason = self.dialect.take(stream, _parsed(line))
                if reason in ("stop", "length"):
                    stream.status = "stop" if reason == "stop" else "length"
                    return
                if reason is not None:
                    raise Interrupted(f"the server ended it with finish_reason {reason!r}")
        raise Interrupted("the stream ended without a finish_reason")

    def _served(self, model: str | None) -> tuple[str, int | None]:
        """The model's name and its context window, where the server states one."""
        try:
            response = httpx.get(
                f"{self.url}/v1/models", headers=self._headers, timeout=min(self.timeout, 30)
            )
        except httpx.TransportError as error:
            raise ServerLost(
                f"{self.url}: no server answers ({type(error).__name__}: {error})", []
            ) from error
        if response.status_code != 200:
            raise ValueError(
                f"{self.url}/v1/models: answered {response.status_code} {response.reason_phrase}"
            )
        served = {entry["id"]: entry.get("max_model_len") for entry in response.json()["data"]}
        if model is None and len(served) != 1:
            raise ValueError(f"model: {self.url} serves {', '.join(served) or 'none'}; name one of them")
        name = next(iter(served)) if model is None else model
        if name not in served:
            raise ValueError(f"model: got {name!r}, but {self.url} serves {', '.join(served)}")
        return name, served[name]


def _parsed(line: str) -> dict[str, Any]:
    try:
        return json.loads(line[5:])  # type: ignore[no-any-return]
    except json.JSONDecodeError as error:  # the server died while writing it
        raise Interrupted(f"the stream broke off in {line[:60]!r}") from error


def _run(work: Coroutine[Any, Any, dict[int, Interrupted]]) -> dict[int, Interrupted]:
    """asyncio.run, also where a loop is already running (a notebook): then in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
