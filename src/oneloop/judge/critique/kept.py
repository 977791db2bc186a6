"""Replies of a chat model by the hash of their question, in memory or in an SQLite file."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BrokenCache(ValueError):
    """The file that keeps replies cannot be opened, read or written."""


class KeptReplies:
    """Usable replies: (text, prompt tokens, completion tokens). Processes and threads may share the file.

    Every method raises BrokenCache, naming the file, when the disk or the file is at fault.
    """

    def __init__(self, path: str | None):
        self._path, self._lock = path, threading.Lock()
        with self._faults():
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._table = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=60)
            with self._table:
                self._table.execute(
                    "CREATE TABLE IF NOT EXISTS replies"
                    " (key TEXT PRIMARY KEY, text TEXT, sent INT, received INT)"
                )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise BrokenCache(f"cache: {self._path}: {error}") from error

    def get(self, key: str) -> tuple[str, int, int] | None:
        """The reply kept under `key`, or None."""
        query = "SELECT text, sent, received FROM replies WHERE key = ?"
        with self._faults(), self._lock:
            row: tuple[str, int, int] | None = self._table.execute(query, (key,)).fetchone()
        return row

    def put(self, key: str, text: str, sent: int, received: int) -> None:
        """Keeps a reply; it is on the disk when this returns."""
        with self._faults(), self._lock, self._table:
            row = (key, text, sent, received)
            self._table.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", row)
