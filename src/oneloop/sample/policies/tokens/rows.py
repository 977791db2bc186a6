"""Data rows as a language policy reads them: prompts that leave room for an answer, demonstrations."""

from collections.abc import Mapping, Sequence
from typing import Any

from oneloop.sample.policies.tokens.prompts import Prompts

Row = Mapping[str, Any]


class TokenRows:
    """Reads rows for a model that sees at most `window` tokens (None: no bound is known).

    limit: tokens a rollout may have. Every fault is a ValueError that names the row.
    """

    def __init__(self, prompts: Prompts, window: int | None, limit: int):
        self.prompts, self.window, self.limit = prompts, window, limit

    def room(self, prompt: Sequence[int], where: str) -> int:
        """Tokens that may follow `prompt`, at least one."""
        if self.window is not None and len(prompt) >= self.window:
            raise ValueError(
                f"the prompt of {where} has {len(prompt)} tokens, but the model reads at most {self.window}; "
                "leave out long prompts, or take another model"
            )
        return (self.window or 1 << 30) - len(prompt)

    def demonstration(self, row: Row, where: str) -> tuple[list[int], int]:
        """(ids of the row's `completion`, how many of them a rollout has room for)."""
        if row.get("completion") in (None, ""):
            raise ValueError(
                f"{where} has no 'completion' to learn from; its columns: {', '.join(row)} "
                "(completion_key of `hub` and `rows` names another)"
            )
        room = self.room(self.prompts.encode(row["prompt"], where, row), where)
        ids = self.prompts.completion(row["prompt"], row["completion"], where, row)
        return list(ids), min(self.limit, room)

    def check_row(self, row: Row, where: str, demonstrated: bool) -> None:
        """Refuses a row whose prompt cannot be written in tokens or leaves no room, or whose completion,
        where it is `demonstrated`, cannot be learned from."""
        if demonstrated:
            self.demonstration(row, where)
        else:
            self.room(self.prompts.encode(row["prompt"], where, row), where)
