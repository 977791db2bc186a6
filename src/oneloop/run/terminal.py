"""The console of the command line and of runs."""

from typing import Any

from rich.console import Console
from rich.text import Text

from oneloop.core.text import shown


class Terminal(Console):
    """A console on which text of others cannot act: control characters are written out."""

    def render_str(self, text: str, **options: Any) -> Text:
        """`text` with its markup made into styles."""
        return super().render_str(shown(text), **options)
