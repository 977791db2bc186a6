"""Rows whose `completion` is their picture as codes of an image tokenizer: demonstrations of drawing."""

from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field

from oneloop.core.identity import SPREAD, Fingerprint, of_rows
from oneloop.core.part import Of, part
from oneloop.core.pictures import picture
from oneloop.models.image_tokenizer.as_text import as_text
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer


@part(paper="arXiv 2501.10064")
class ImageCodes:
    """`data`, each row with its `image` written as text, a character a code."""

    data: Annotated[Any, Of("data")]
    """Data whose rows have an `image`."""
    tokenizer: Annotated[Any, Of("image_tokenizer")]
    """The tokenizer, such as {one_d_piece: {folder: runs/one_d_piece}}."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens written of each image, the first ones; None: all."""

    @cached_property
    def loaded(self) -> OneDTokenizer:
        """The tokenizer. Raises ValueError where it cannot be loaded, or has fewer tokens than are wanted."""
        tokenizer: OneDTokenizer = self.tokenizer.build()
        if self.tokens is not None and self.tokens > tokenizer.config.tokens:
            raise ValueError(f"image_codes.tokens: {self.tokens}, but an image has {tokenizer.config.tokens}")
        return tokenizer

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Row number `key`. Raises ValueError for a row without a picture."""
        row: dict[str, Any] = self.data[key]
        if row.get("image") is None:
            raise ValueError(f"image_codes: data row {key} has no 'image'; its columns: {', '.join(row)}")
        image = picture(row["image"], f"data row {key}", self.loaded.config.picture)
        codes = self.loaded.encode(torch.as_tensor(image)[None])[0, : self.tokens]
        return row | {"completion": as_text(codes)}

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the rows, their codes included."""
        return of_rows(self, SPREAD, [self.data])
