"""Which models an OpenAI-compatible server has, how many tokens they read, and the error of its absence."""

import asyncio
import json
from collections.abc import Callable, Collection
from typing import Any

import httpx

from oneloop.core.text import one_line
from oneloop.core.web import Unreadable, body_of, wait_for
from oneloop.engines.request import Reply

LARGEST = 4 << 20
"""Bytes of a line of a stream, or of an answer that is no stream."""
PATIENCE = 30.0
"""Most seconds to wait for the list of models."""


class ServerLost(ConnectionError):
    """The server could not be reached, or died, and the retries did not help."""

    def __init__(self, message: str, replies: list[Reply]) -> None:
        super().__init__(message)
        self.replies = replies
        """One reply for each request; those that did not finish hold what had arrived (status "aborted")."""


def served(
    url: str, wanted: str | None, client: Callable[[], httpx.AsyncClient], timeout: float
) -> tuple[str, int | None]:
    """(name, context window or None) of the model `wanted` at `url`; None: of the only one served there.

    `client` opens a connection. Raises ServerLost if nobody answers within `timeout` seconds (or PATIENCE),
    ValueError if the model is not served there.
    """
    content = wait_for(_listed(f"{url}/v1/models", url, client, min(timeout, PATIENCE)))
    try:
        listed = json.loads(content)["data"]
        windows: dict[str, int | None] = {
            entry["id"]: _window(entry.get("max_model_len")) for entry in listed
        }
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        shown = one_line(content[:200].decode(errors="replace"))
        raise ValueError(f"{url}/v1/models: answered no list of models: {shown!r}") from None
    if wanted is None and len(windows) != 1:
        raise ValueError(f"model: {url} serves {_names(windows)}; name one of them")
    name = next(iter(windows)) if wanted is None else wanted
    if name not in windows:
        raise ValueError(f"model: got {name!r}, but {url} serves {_names(windows)}")
    return name, windows[name]


async def _listed(page: str, url: str, client: Callable[[], httpx.AsyncClient], seconds: float) -> bytes:
    """What the server answers when asked for its models."""
    try:
        async with (
            asyncio.timeout(seconds),
            client() as connection,
            connection.stream("GET", page) as response,
        ):
            if response.status_code == 200:
                return await body_of(response, LARGEST)
    except (httpx.TransportError, TimeoutError) as error:
        words = f"{type(error).__name__}: {error}" if str(error) else f"{seconds:g} s of silence"
        raise ServerLost(f"{url}: no server answers ({words})", []) from error
    except (Unreadable, httpx.InvalidURL) as error:
        raise ValueError(f"{page}: {error}") from None
    raise ValueError(f"{page}: answered {response.status_code} {one_line(response.reason_phrase, 60)}")


def _window(length: Any) -> int | None:
    return length if isinstance(length, int) and length > 0 else None


def _names(windows: Collection[str]) -> str:
    return one_line(", ".join(windows)) or "none"
