"""Replies of a chat model by the hash of their question, in memory or in an SQLite file."""

import sqlite3
import threading
from pathlib import Path


class Kept:
    """Usable replies: (text, prompt tokens, completion tokens). Processes and threads may share the file."""

    def __init__(self, path: str | None):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._table = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=60)
        with self._table:
            self._table.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, text TEXT, sent INT, received INT)"
            )

    def get(self, key: str) -> tuple[str, int, int] | None:
        """The reply kept under `key`, or None."""
        query = "SELECT text, sent, received FROM replies WHERE key = ?"
        with self._lock:
            row: tuple[str, int, int] | None = self._table.execute(query, (key,)).fetchone()
        return row

    def put(self, key: str, text: str, sent: int, received: int) -> None:
        """Keeps a reply; it is on the disk when this returns."""
        with self._lock, self._table:
            row = (key, text, sent, received)
            self._table.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", row)
