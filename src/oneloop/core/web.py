"""Talking to servers that are not trusted: bounded bodies, and addresses without secrets."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from oneloop.core.text import one_line

T = TypeVar("T")
PLAIN = {"Accept-Encoding": "identity"}
"""Request headers that ask for a body without compression: a small one can unpack to gigabytes."""


class Unreadable(ValueError):
    """The body of an answer is too large or is compressed; the message says which."""


async def body_of(response: httpx.Response, most: int) -> bytes:
    """The body of a streamed response. Raises Unreadable above `most` bytes and for a compressed body.

    The time it may take is the caller's to bound, with `asyncio.timeout` around the whole call.
    """
    coding = response.headers.get("content-encoding", "identity")
    if coding.strip().lower() not in ("", "identity"):
        raise Unreadable(f"answered in the encoding '{one_line(coding, 20)}' although none was asked for")
    pieces, size = [], 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > most:
            raise Unreadable(f"answered more than {most:,} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def shown_url(url: str) -> str:
    """`url` for messages: user name, password and query are replaced by ***."""
    try:
        split = urlsplit(url)
    except ValueError:
        return one_line(url.partition("://")[0]) + "://***"
    host = split.netloc.rpartition("@")
    netloc = f"***@{host[2]}" if host[1] else host[2]
    return one_line(urlunsplit((split.scheme, netloc, split.path, "***" if split.query else "", "")))


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """(`url` without its user name and password, (user name, password) where it has them)."""
    split = urlsplit(url)
    login, at, host = split.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = login.partition(":")
    return urlunsplit(split._replace(netloc=host)), (unquote(user), unquote(password))


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, also where a loop is already running (a notebook): then in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
