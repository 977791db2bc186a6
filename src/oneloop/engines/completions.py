"""The completions dialect of vLLM (>= 0.10.2) and SGLang (2026): token ids in and out, with log-probs.

Text is never re-tokenised: a server that does not send ids is refused. vLLM must run with
`--logprobs-mode processed_logprobs`, or its log-probs are not those of the law; one question finds out.
Not here: retries, concurrency, abort (server.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import numpy as np

from oneloop.core.draws import mix
from oneloop.engines.law import Law
from oneloop.engines.request import Reply, Request

RETRIED = {408, 429, 500, 502, 503, 504}


class Interrupted(Exception):
    """One attempt failed in a way that trying again may mend."""


@dataclass(eq=False)
class Stream:
    """What has arrived for one request."""

    request: Request
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    status: Literal["stop", "length", "aborted"] = "aborted"

    def reply(self) -> Reply:
        """What there is, as an engine's reply."""
        return Reply(tuple(self.tokens), np.array(self.logprobs, dtype=np.float32), self.status)


@dataclass(frozen=True)
class Dialect:
    """How to ask the model `model` at `url`, and how to read the answers."""

    url: str
    model: str
    law: Law
    eos: frozenset[int]
    stop: tuple[str, ...]

    def body(self, stream: Stream) -> dict[str, Any]:
        """The request that continues the stream from what has arrived."""
        request, law = stream.request, self.law
        sampled = [*request.partial, *stream.tokens]
        return {
            "model": self.model,
            "prompt": [*request.prompt, *sampled],
            "max_tokens": request.limit - len(sampled),
            "seed": seed(request.key, len(sampled)),
            "stop": list(self.stop),
            "include_stop_str_in_output": True,
            "stop_token_ids": sorted(self.eos),
            "skip_special_tokens": False,
            "stream": True,
            "logprobs": 0,
            "return_token_ids": True,
            **_law_fields(law),
        }

    def take(self, stream: Stream, chunk: dict[str, Any]) -> str | None:
        """Add one chunk's tokens to the stream; gives the finish reason, if it has one.

        Raises ValueError for a reply without token ids or log-probs, Interrupted for an error reported there.
        """
        if "error" in chunk:
            raise Interrupted(f"the server reported {chunk['error']}")
        for choice in chunk.get("choices", ()):
            ids = choice.get("token_ids")
            if ids is None and (choice.get("text") or choice.get("finish_reason") is None):
                raise ValueError(
                    f"{self.url}: the reply has no token ids (choices[].token_ids), and text is never "
                    "re-tokenised here; serve with vLLM >= 0.10.2 or an SGLang that knows return_token_ids"
                )
            logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or []
            ids = ids or []
            if len(logprobs) != len(ids) or None in logprobs:
                raise ValueError(f"{self.url}: the reply has {len(ids)} token ids but log-probs {logprobs}")
            stream.tokens.extend(ids)
            stream.logprobs.extend(logprobs)
            if choice.get("finish_reason") is not None:
                return str(choice["finish_reason"])
        return None

    def refuse(self, response: httpx.Response) -> None:
        """Raise for an answer that is not 200: Interrupted where trying again may help, else ValueError."""
        words = f"{self.url}: answered {response.status_code} {response.reason_phrase}: {response.text[:300]}"
        raise Interrupted(words) if response.status_code in RETRIED else ValueError(words)

    async def law_is_honoured(self, client: httpx.AsyncClient, request: Request) -> bool:
        """Ask for one token with the law and without: equal best log-probs mean that it is ignored.

        False when nothing can be told (an unreachable server, a certain token). Raises ValueError if ignored.
        """
        if self.law == Law() or self.law.greedy:
            return True
        best = []
        for law in (self.law, Law()):
            once = {"max_tokens": 1, "logprobs": 1, "stream": False}
            body = {**self.body(Stream(request)), **_law_fields(law), **once}
            try:
                response = await client.post(f"{self.url}/v1/completions", json=body)
            except httpx.TransportError:
                return False
            if response.status_code != 200:
                return False
            best.append(max(response.json()["choices"][0]["logprobs"]["top_logprobs"][0].values()))
        if min(best) > -1e-3:
            return False
        if abs(best[0] - best[1]) < 1e-6:
            raise ValueError(
                f"{self.url}: reports log-probs of the plain softmax, not of {self.law}; "
                "start vLLM with --logprobs-mode processed_logprobs"
            )
        return True


def seed(key: int, sampled: int) -> int:
    """The server's seed, 63 bits, for a request that goes on after `sampled` tokens."""
    return int(mix(key, sampled)) >> 1


def _law_fields(law: Law) -> dict[str, Any]:
    fields = {"temperature": law.temperature, "top_p": law.top_p, "min_p": law.min_p}
    return {**fields, "top_k": law.top_k or -1}  # -1: all tokens, in both servers
