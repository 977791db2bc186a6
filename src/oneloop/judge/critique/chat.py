"""Questions to a chat model behind any OpenAI-compatible server, many at a time, answered once each.

    POST base_url/chat/completions {model, messages, temperature, max_tokens, seed}

Every usable reply is kept under the hash of its question the moment it arrives (in memory, or in an SQLite
file that survives a kill): asking again costs nothing. A failure is told in the reply and never taken for an
answer; the module calls.py says which failures are tried again, and which mean that the server is away.
Not here: streamed answers, tools, images, and what an answer means.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from oneloop.core.web import wait_for
from oneloop.judge.critique.calls import CallFailure, Calls
from oneloop.judge.critique.chat_server import ChatServer
from oneloop.judge.critique.kept import KeptReplies

Message = Mapping[str, str]
Question = tuple[Sequence[Message], int]
"""A conversation, and the number of the draw: the same question is asked again under another number."""


@dataclass(frozen=True)
class ChatReply:
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
        self._kept = KeptReplies(server.cache)

    def ask(self, questions: Sequence[Question]) -> list[ChatReply]:
        """One reply for each question, in order; the same question twice is asked once.

        Raises MissingKey and BrokenCache. Every other failure is a reply with an error.
        """
        keys = [self._key(*question) for question in questions]
        found = {key: self._priced(*kept, cached=True) for key in keys if (kept := self._kept.get(key))}
        fresh = {key: question for key, question in zip(keys, questions, strict=True) if key not in found}
        answers = dict(zip(fresh, wait_for(self._ask_fresh(fresh)) if fresh else (), strict=True)) | found
        replies: list[ChatReply] = []
        paid: set[str] = set()
        for key in keys:
            reply = answers[key]
            replies.append(replace(reply, cached=reply.error is None, cost=0.0) if key in paid else reply)
            paid.add(key)
        return replies

    async def _ask_fresh(self, fresh: Mapping[str, Question]) -> list[ChatReply]:
        async with Calls(self.server, self._headers()) as calls:
            work = [self._ask_one(calls, key, *question) for key, question in fresh.items()]
            return await asyncio.gather(*work)

    async def _ask_one(self, calls: Calls, key: str, messages: Sequence[Message], draw: int) -> ChatReply:
        answer = await calls.post(self._body(messages, draw))
        if isinstance(answer, CallFailure):
            return ChatReply(error=answer.error, away=answer.away)
        if answer.text is None:
            spent = self._priced("", answer.sent, answer.received)
            return replace(spent, text=None, error=answer.error)
        self._kept.put(key, answer.text, answer.sent, answer.received)
        return self._priced(answer.text, answer.sent, answer.received)

    def _priced(self, text: str, sent: int, received: int, cached: bool = False) -> ChatReply:
        cost = (sent * self.server.prompt_price + received * self.server.completion_price) / 1e6
        return ChatReply(text, cost=0.0 if cached else cost, cached=cached)

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
        if not (key := os.environ.get(name, "").strip()):
            raise MissingKey(f"api_key_env: the environment variable {name} is not set or empty")
        if not (key.isascii() and key.isprintable()):
            raise MissingKey(f"api_key_env: the environment variable {name} holds characters no key has")
        whole = key.startswith(("Basic ", "Bearer "))
        return {"Authorization": key if whole else f"Bearer {key}"}


@cache
def shared(server: ChatServer) -> Chat:
    """The client of this server, one for the whole process: critics that ask the same share its replies."""
    return Chat(server)
