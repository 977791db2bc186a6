"""The completions dialect of vLLM (>= 0.10.2) and SGLang (2026): token ids in and out, with log-probs.

Text is never re-tokenised: a server that does not send ids is refused. vLLM must run with
`--logprobs-mode processed_logprobs`, or its log-probs are not those of the law; one question finds out.
Not here: retries, concurrency, abort (server.py)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from oneloop.core.draws import mix
from oneloop.core.text import one_line
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
        """The tokens that have arrived so far, as an engine's reply."""
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

        Raises ValueError for a reply without token ids or log-probs and for more tokens than were asked for,
        Interrupted for an error reported there.
        """
        request = stream.request
        if "error" in chunk:
            raise Interrupted(f"the server reported {one_line(str(chunk['error']))}")
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                raise Interrupted(f"the server sent {one_line(repr(choice)[:200], 60)} for a choice")
            ids, logprobs = self._tokens(choice)
            stream.tokens.extend(ids)
            stream.logprobs.extend(logprobs)
            if len(request.partial) + len(stream.tokens) > request.limit:
                raise ValueError(f"{self.url}: sent more than the {request.limit} tokens it was asked for")
            if choice.get("finish_reason") is not None:
                return str(choice["finish_reason"])
        return None

    def _tokens(self, choice: dict[str, Any]) -> tuple[list[int], list[float]]:
        """(token ids, their log-probs) of one choice. Raises ValueError where one of the two is missing."""
        ids = choice.get("token_ids")
        if ids is None and (choice.get("text") or choice.get("finish_reason") is None):
            raise ValueError(
                f"{self.url}: the reply has no token ids (choices[].token_ids), and text is never "
                "re-tokenised here; serve with vLLM >= 0.10.2 or an SGLang that knows return_token_ids"
            )
        told = choice.get("logprobs")
        logprobs = (told.get("token_logprobs") if isinstance(told, dict) else None) or []
        ids = ids or []
        if not (isinstance(ids, list) and all(type(token) is int and token >= 0 for token in ids)):
            raise ValueError(f"{self.url}: token ids are {one_line(repr(ids)[:200], 60)}, not numbers")
        numbers = isinstance(logprobs, list) and all(isinstance(value, int | float) for value in logprobs)
        if not numbers or len(logprobs) != len(ids):
            shown = one_line(repr(logprobs)[:200], 60)
            raise ValueError(f"{self.url}: the reply has {len(ids)} token ids but log-probs {shown}")
        return ids, [float(value) for value in logprobs]

    def refuse(self, status: int, reason: str, content: bytes) -> None:
        """Raise for an answer that is not 200: Interrupted where trying again may help, else ValueError."""
        said = one_line(content[:300].decode(errors="replace"), 300)
        words = f"{self.url}: answered {status} {one_line(reason, 60)}: {said}"
        raise Interrupted(words) if status in RETRIED else ValueError(words)

    def law_questions(self, request: Request) -> list[dict[str, Any]]:
        """Bodies that ask for one token with the law and without; none for a law that needs no question."""
        if self.law == Law() or self.law.greedy:
            return []
        once = {"max_tokens": 1, "logprobs": 1, "stream": False}
        return [{**self.body(Stream(request)), **_law_fields(law), **once} for law in (self.law, Law())]

    def law_is_honoured(self, answers: Sequence[bytes]) -> bool:
        """Whether log-probs are those of the law: equal best ones with the law and without mean that it is
        ignored. `answers`: what was answered to `law_questions`.

        False when nothing can be told (an answer that cannot be read, a certain token). Raises ValueError if
        the law is ignored.
        """
        if not answers:
            return True
        try:
            best = [_best(json.loads(answer)) for answer in answers]
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return False
        if min(best) > -1e-3:
            return False
        if abs(best[0] - best[1]) < 1e-6:
            raise ValueError(
                f"{self.url}: reports log-probs of the plain softmax, not of {self.law}; "
                "start vLLM with --logprobs-mode processed_logprobs"
            )
        return True


def _best(answer: Any) -> float:
    """The highest log-prob of the first token of a completion."""
    return max(float(value) for value in answer["choices"][0]["logprobs"]["top_logprobs"][0].values())


def seed(key: int, sampled: int) -> int:
    """The server's seed, 63 bits, for a request that goes on after `sampled` tokens."""
    return int(mix(key, sampled)) >> 1


def _law_fields(law: Law) -> dict[str, Any]:
    fields = {"temperature": law.temperature, "top_p": law.top_p, "min_p": law.min_p}
    return {**fields, "top_k": law.top_k or -1}  # -1: all tokens, in both servers
