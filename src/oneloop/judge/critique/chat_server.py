"""The options of a chat model behind an OpenAI-compatible server."""

from typing import Annotated

import httpx
from pydantic import Field

from oneloop.core.part import part
from oneloop.core.web import shown_url, split_login


@part()
class ChatServer:
    """Where a chat model is, how it is asked, and what it costs."""

    base_url: Annotated[str, Field(pattern=r"^https?://")]
    """Address up to the version, such as http://localhost:8000/v1, without a password."""
    model: Annotated[str, Field(min_length=1)]
    """Name of the model at that server."""
    api_key_env: str | None = None
    """Environment variable with the key, or with a whole Authorization header ("Basic ..."); None: no key."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Sampling temperature of the chat model; at 0 it says the same each time."""
    max_tokens: Annotated[int, Field(ge=1)] = 2048
    """Tokens of a reply; one that is cut off is not used."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds for one whole reply, from connecting to its last byte."""
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

    def __post_init__(self) -> None:
        try:
            url, login = httpx.URL(self.base_url), split_login(self.base_url)[1]
        except (httpx.InvalidURL, ValueError) as error:
            raise ValueError(f"base_url: {shown_url(self.base_url)} is no address: {error}") from None
        if login is not None:
            raise ValueError(
                f"base_url: {shown_url(self.base_url)} holds a password, which would be written into the "
                "files of the run; name a variable that holds the Authorization header in api_key_env"
            )
        if not url.host or url.query or url.fragment:
            raise ValueError(f"base_url: a host and a path are wanted, got {shown_url(self.base_url)}")
